import type { DpopKey } from '../types.ts'
import type { Clock } from './clock.ts'
import { createDpopNonces, type DpopNonces } from './nonces.ts'
import { createDpopProof } from './proof.ts'

/** What proofs of one session are made of. */
export interface DpopContext {
  key: DpopKey
  nonces: DpopNonces
  clock: Clock
}

/** What a new session, or one that was read from storage, starts with. */
export function createDpopContext(
  key: DpopKey,
  { clock, now }: { clock: Clock; now: () => number },
): DpopContext {
  return { key, clock, nonces: createDpopNonces(now) }
}

export interface DpopRequest<Answer> {
  method: string
  url: URL
  /** Hash of the access token the request carries. */
  ath?: string | undefined
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
  { key, nonces, clock }: DpopContext,
  { method, url, ath, send, readError }: DpopRequest<Answer>,
): Promise<Answer> {
  const { origin } = url
  const htu = origin + url.pathname
  let nonceRetries = 1
  let clockRetries = 1
  for (;;) {
    const leave = await nonces.enter(origin)
    const nonce = nonces.get(origin)
    let answer: Answer
    try {
      answer = await send(await createDpopProof(key, { method, htu, iat: clock.seconds(), nonce, ath }))
      nonces.learn(origin, answer.headers)
    } finally {
      leave?.()
    }
    const error = await readError(answer)
    const repeat =
      (error === 'use_dpop_nonce' && nonces.get(origin) !== nonce && nonceRetries-- > 0) ||
      (error === 'invalid_dpop_proof' && clockRetries-- > 0 && (await clock.correct()))
    if (!repeat) return answer
  }
}
