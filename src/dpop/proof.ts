import type { DpopKey } from '../types.ts'
import { encodeBase64url, encodeUtf8, randomToken } from './encoding.ts'

export interface DpopProofOptions {
  /** HTTP method of the request the proof is for, as sent (`htm`). */
  method: string
  /** URL of that request without query and fragment (`htu`, RFC 9449 §4.2). */
  htu: string
  /** When the proof is made, seconds since the epoch on the server's clock (`iat`). */
  iat: number
  /** The server's latest `DPoP-Nonce`, if it has given one. */
  nonce: string | undefined
  /** Hash of the access token the proof goes with. Resource requests only. */
  ath: string | undefined
}

// Objects without a prototype: a script's `Object.prototype.toJSON` must not speak for them.

/** The protected header of each key's proofs, encoded: it is the same for all of them. */
const headers = new WeakMap<CryptoKey, string>()

/**
 * Signs a DPoP proof for one request. A proof is single-use: make a new one for every attempt.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9449#section-4.2
 */
export async function createDpopProof(
  { privateKey, publicJwk }: DpopKey,
  options: DpopProofOptions,
): Promise<string> {
  const { method, htu, iat, nonce, ath } = options
  let header = headers.get(privateKey)
  if (!header) {
    header = encodeBase64url(
      JSON.stringify({
        __proto__: null,
        typ: 'dpop+jwt',
        alg: 'ES256',
        jwk: { __proto__: null, ...publicJwk },
      }),
    )
    headers.set(privateKey, header)
  }
  const claims = { __proto__: null, jti: randomToken(16), htm: method, htu, iat, nonce, ath }
  const input = `${header}.${encodeBase64url(JSON.stringify(claims))}`
  const signature = await crypto.subtle.sign(
    { name: 'ECDSA', hash: 'SHA-256' },
    privateKey,
    encodeUtf8(input),
  )
  return `${input}.${encodeBase64url(new Uint8Array(signature))}`
}
