import type { SessionEvent } from './session/accounts.ts'
import type { ProgressEvent } from './steps.ts'

/** Something worth a developer's attention that is not an error of the call at hand. */
export type DiagnosticEvent =
  /** IndexedDB does not work here; nothing survives a page load. */
  | { code: 'storage_fallback'; cause: unknown }
  /** A stored session could not be read and was removed. */
  | { code: 'session_unreadable'; did: string }
  /** A public client's session ends soon, however often it is refreshed: sign in again before. */
  | { code: 'session_ending'; did: string; endsAt: number }
  /** A callback was opened again, or in another browser than the one it was meant for. */
  | { code: 'callback_ignored' }
  /** An endpoint that should have given a `DPoP-Nonce` did not, or CORS hides it. */
  | { code: 'nonce_missing'; url: string }
  /** The server calls even a new access token invalid. The session is kept. */
  | { code: 'token_refused'; did: string }
  /** A refresh granted another scope than before. */
  | { code: 'scope_changed'; did: string; before: string; after: string }

export interface ClientEvents {
  progress: ProgressEvent
  session: SessionEvent
  diagnostic: DiagnosticEvent
}

export interface Events {
  on<Type extends keyof ClientEvents>(type: Type, listener: (event: ClientEvents[Type]) => void): () => void
  emit<Type extends keyof ClientEvents>(type: Type, event: ClientEvents[Type]): void
}

/** Calls listeners. One that throws is reported as an uncaught error and disturbs nothing else. */
export function notify<T>(listeners: Iterable<(value: T) => void>, value: T): void {
  for (const listener of listeners) {
    try {
      listener(value)
    } catch (error) {
      queueMicrotask(() => {
        throw error
      })
    }
  }
}

/** Listeners by event. */
export function createEvents(): Events {
  const listeners = new Map<string, Set<(event: never) => void>>()
  return {
    on(type, listener) {
      const set = listeners.get(type) ?? new Set()
      listeners.set(type, set.add(listener))
      return () => set.delete(listener)
    },
    emit(type, event) {
      notify(listeners.get(type) ?? [], event as never)
    },
  }
}
