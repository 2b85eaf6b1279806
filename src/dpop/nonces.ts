import { within } from '../time.ts'
import type { DpopNonce } from '../types.ts'

/** Past this age a nonce is not sent at all. */
const USEFUL_MS = 5 * 60_000
/** Up to this age a nonce is expected to work: the reference server accepts one for two to three minutes. */
const FRESH_MS = 2 * 60_000
const MAX_ORIGINS = 64
/** RFC 9449 §8.1: 1*NQCHAR; the length limit is ours. */
const NONCE = /^[\x21\x23-\x5b\x5d-\x7e]{1,512}$/
/** A request waits no longer than this for others to bring the first nonce. */
const FIRST_WAIT_MS = 2_000

/** The latest `DPoP-Nonce` of each server, for one session: servers may bind nonces to sessions. */
export interface DpopNonces {
  get(origin: string): string | undefined
  entry(origin: string): DpopNonce | undefined
  set(origin: string, nonce: DpopNonce | undefined): void
  /** Keeps and returns what an answer's `DPoP-Nonce` says, if anything. */
  learn(origin: string, headers: Headers): string | undefined
  /**
   * Lets one request go ahead where no fresh nonce is known, so that the others need not all fail once. Call the
   * returned function when the request is over, with whether there was an answer.
   */
  enter(origin: string): Promise<((wasAnswered: boolean) => void) | undefined>
}

export function createDpopNonces(now: () => number): DpopNonces {
  const latest = new Map<string, DpopNonce>()
  /** Requests that go ahead of the others, by origin. */
  const first = new Map<string, Promise<true>>()
  /** Origins that have answered, so that one which gives no nonces is not waited for again. */
  const answered = new Set<string>()
  const age = (nonce: DpopNonce) => Math.abs(now() - nonce.at)

  const nonces: DpopNonces = {
    entry(origin) {
      const nonce = latest.get(origin)
      return nonce && age(nonce) < USEFUL_MS ? nonce : undefined
    },
    get: (origin) => nonces.entry(origin)?.value,
    set(origin, nonce) {
      if (
        !nonce ||
        !NONCE.test(nonce.value) ||
        !Number.isFinite(nonce.at) ||
        (!latest.has(origin) && latest.size >= MAX_ORIGINS)
      )
        return
      latest.set(origin, nonce)
    },
    learn(origin, headers) {
      const value = headers.get('dpop-nonce') ?? ''
      if (!NONCE.test(value)) return undefined
      nonces.set(origin, { value, at: now() })
      return value
    },
    async enter(origin) {
      const until = performance.now() + FIRST_WAIT_MS
      for (;;) {
        const known = latest.get(origin)
        if (known ? age(known) < FRESH_MS : answered.has(origin)) return undefined
        const ahead = first.get(origin)
        if (ahead === undefined) break
        // One that hangs holds up nobody for long; one that failed is followed by the next.
        if ((await within(ahead, Math.max(0, until - performance.now()))) === undefined) return undefined
      }
      let leave = (_done: true) => {}
      const done = new Promise<true>((resolve) => {
        leave = resolve
      })
      first.set(origin, done)
      return (wasAnswered) => {
        first.delete(origin)
        if (wasAnswered && answered.size < MAX_ORIGINS) answered.add(origin)
        leave(true)
      }
    },
  }
  return nonces
}
