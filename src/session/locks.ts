import { oauthError } from '../errors.ts'

/** How long to wait for another tab. A tab that hangs is never robbed of its lock: it may hold the only new token. */
const WAIT_MS = 20_000

/** Whether locks reach across the tabs and workers of this origin. */
export function hasLocks(): boolean {
  return !!globalThis.navigator?.locks
}

/**
 * Runs `work` while no other tab or worker of this origin runs one of the same name. Where there are no Web Locks it
 * just runs.
 *
 * @throws {OAuthError} `timed_out` when the lock did not come free.
 */
export async function withLock<T>(name: string, work: () => Promise<T>): Promise<T> {
  if (!hasLocks()) return work()
  const wait = new AbortController()
  const timer = setTimeout(() => wait.abort(), WAIT_MS)
  let started: Promise<T> | undefined
  try {
    await navigator.locks.request(name, { __proto__: null, signal: wait.signal } as LockOptions, () => {
      clearTimeout(timer)
      started = work()
      return started.catch(() => {})
    })
  } catch (cause) {
    // WebKit takes the lock from a page in the back/forward cache; what was begun under it still ends.
    if (started === undefined) {
      // Locks that a browser has and refuses are none.
      if (cause instanceof DOMException && cause.name === 'SecurityError') return work()
      throw wait.signal.aborted ? oauthError('timed_out', { url: name, timeoutMs: WAIT_MS }) : cause
    }
  } finally {
    clearTimeout(timer)
  }
  return started as Promise<T>
}
