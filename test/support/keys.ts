import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose'

/** base64url(SHA-256(text)): an S256 challenge, an `ath`. */
export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}

/** A canary: unguessable, and recognisable wherever it leaks to. */
export function randomToken(kind: string): string {
  return `${kind}_${randomBytes(24).toString('hex')}`
}

export function generateDpopKey(): Promise<CryptoKeyPair> {
  return generateKeyPair('ES256', { extractable: false })
}

export async function thumbprint(key: CryptoKeyPair): Promise<string> {
  return calculateJwkThumbprint(await exportJWK(key.publicKey))
}

export interface ProofOptions {
  method: string
  url: string
  /** Milliseconds since the epoch. */
  now: number
  nonce?: string | undefined
  accessToken?: string | undefined
  /** Laid over the correct claims; `undefined` removes one. */
  claims?: Record<string, unknown>
  /** Laid over the correct protected header. */
  header?: Record<string, unknown>
}

/** Signs a DPoP proof as an independent client would, correct unless `claims` or `header` spoil it. */
export async function signProof(key: CryptoKeyPair, options: ProofOptions): Promise<string> {
  const { origin, pathname } = new URL(options.url)
  const payload: JWTPayload = {
    jti: randomUUID(),
    htm: options.method,
    htu: origin + pathname,
    iat: Math.floor(options.now / 1000),
    ...(options.nonce !== undefined && { nonce: options.nonce }),
    ...(options.accessToken !== undefined && { ath: sha256(options.accessToken) }),
    ...options.claims,
  }
  return new SignJWT(payload)
    .setProtectedHeader({
      typ: 'dpop+jwt',
      alg: 'ES256',
      jwk: await exportJWK(key.publicKey),
      ...options.header,
    })
    .sign(key.privateKey)
}
