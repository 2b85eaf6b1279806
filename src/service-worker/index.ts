import { createClock } from '../dpop/clock.ts'
import { createDpopContext } from '../dpop/fetch.ts'
import { isOAuthError } from '../errors.ts'
import { openAnnouncements } from '../session/announcements.ts'
import type { GuardAnswer, GuardRequest } from '../session/guard.ts'
import { refreshSession } from '../session/refresh.ts'
import { openStorage } from '../storage/database.ts'
import { createSessionStore } from '../storage/sessions.ts'
import type { DpopNonce } from '../types.ts'

/** The parts of a service worker's global scope that are used. */
interface WorkerScope {
  readonly location: { readonly origin: string; readonly pathname: string }
  addEventListener(type: 'message', listener: (event: WorkerMessageEvent) => void): void
}

interface WorkerMessageEvent extends MessageEvent<Partial<GuardRequest> | null> {
  waitUntil(work: Promise<unknown>): void
}

/**
 * Guards refreshes: from now on pages of this origin have this service worker replace their tokens. The worker is kept
 * alive until the new ones are on disk, so that closing or reloading the page in that moment loses nothing.
 *
 * Call it once, at the top of a service worker; it listens to its own messages and to nothing else.
 */
export function guardRefreshes(): void {
  const scope = globalThis as unknown as WorkerScope
  scope.addEventListener('message', (event) => {
    const { data, ports } = event
    const [port] = ports
    const { origin, pathname } = scope.location
    if (data?.signet === 1 && port) event.waitUntil(answer(data as GuardRequest, port, origin + pathname))
  })
}

async function answer(request: GuardRequest, port: MessagePort, script: string): Promise<void> {
  port.postMessage('accepted' satisfies GuardAnswer)
  let result: GuardAnswer = {}
  try {
    await refresh(request, script)
  } catch (error) {
    // An error object loses its own members on the way.
    result = { error: isOAuthError(error) ? { ...error } : { code: 'storage_failed' } }
  } finally {
    port.postMessage(result)
  }
}

async function refresh(request: GuardRequest, script: string): Promise<void> {
  const { name, allowHttp, clientId, did, issuedAt, urgency } = request
  const fetch = (url: string, init: RequestInit) => globalThis.fetch(url, init)
  const now = Date.now
  const storage = await openStorage(name, 'auto', (cause) => {
    throw cause
  })
  const announcements = openAnnouncements(name, () => {})
  try {
    const sessions = createSessionStore(storage, { clientId, allowHttp, now })
    const stored = await sessions.load(did)
    // A page that asked for what another one has had done only has to read it.
    if (typeof stored !== 'object' || stored.tokens.issuedAt !== issuedAt) return
    const clock = createClock(fetch, now, script)
    const context = {
      name,
      allowHttp,
      clientId,
      storage,
      sessions,
      clock,
      fetch,
      now,
      announce: announcements.send,
      diagnose() {},
      onMissingNonce() {},
    }
    const dpop = createDpopContext(stored.dpopKey, context)
    dpop.nonces.set(stored.pds, (await storage.get('nonces', did)) as DpopNonce | undefined)
    await refreshSession(context, stored, dpop, urgency)
  } finally {
    announcements.close()
    storage.close()
  }
}
