import type { DpopKey } from '../types.ts'
import type { Clock } from './clock.ts'
import { createDpopNonces, type DpopNonces } from './nonces.ts'
import { createDpopProof } from './proof.ts'

/** What the proofs of all sessions have in common. */
export interface DpopSource {
  clock: Clock
  now: () => number
  /** Told of an endpoint that should have given a nonce and did not, or whose nonce CORS hides. */
  onMissingNonce(url: string): void
}

/** What proofs of one session are made of. */
export interface DpopContext extends DpopSource {
  key: DpopKey
  nonces: DpopNonces
}

/** What a new session, or one that was read from storage, starts with. */
export function createDpopContext(key: DpopKey, { clock, now, onMissingNonce }: DpopSource): DpopContext {
  return { key, clock, now, onMissingNonce, nonces: createDpopNonces(now) }
}

export interface DpopRequest<Answer> {
  method: string
  url: URL
  /** Hash of the access token the request carries. */
  ath?: string | undefined
  /** An authorization server gives a nonce with every answer (atproto OAuth, "DPoP"). */
  expectsNonce?: boolean
  /** How often a refusal for the nonce is answered with another one. Default 1. */
  nonceRetries?: number
  /** Makes one attempt with this proof. */
  send(proof: string): Promise<Answer>
  /** The error code of an answer (`use_dpop_nonce`, …), if it has one. */
  readError(answer: Answer): Promise<string | undefined> | string | undefined
}

/**
 * Sends a request with a DPoP proof. A refusal for its nonce is answered once with the nonce that came with it, a
 * refusal for its time once with a corrected clock; each attempt has a proof of its own.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9449#section-8
 */
export async function sendWithProof<Answer extends { headers: Headers }>(
  { key, nonces, clock, onMissingNonce }: DpopContext,
  { method, url, ath, expectsNonce, nonceRetries = 1, send, readError }: DpopRequest<Answer>,
): Promise<Answer> {
  const { origin } = url
  const htu = origin + url.pathname
  let clockRetries = 1
  let given: string | undefined
  for (;;) {
    const leave = await nonces.enter(origin)
    // The nonce that came with a refusal is meant for its repetition, whatever others have learned since.
    const nonce = given ?? nonces.get(origin)
    const offsetMs = clock.offsetMs()
    let answer: Answer | undefined
    try {
      answer = await send(await createDpopProof(key, { method, htu, iat: clock.seconds(), nonce, ath }))
      given = nonces.learn(origin, answer.headers)
    } finally {
      leave?.(answer !== undefined)
    }
    const error = await readError(answer)
    if ((expectsNonce || error === 'use_dpop_nonce') && !answer.headers.has('dpop-nonce')) onMissingNonce(htu)
    if (error === 'use_dpop_nonce') {
      if (!given || given === nonce || nonceRetries-- <= 0) return answer
    } else if (error === 'invalid_dpop_proof' && clockRetries-- > 0) {
      await clock.correct()
      if (clock.offsetMs() === offsetMs) return answer
    } else return answer
  }
}
