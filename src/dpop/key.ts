import type { DpopKey, PublicJwk } from '../types.ts'

/** Generates an ES256 pair whose private half cannot be exported (RFC 9449 §11.2). */
export async function generateDpopKey(): Promise<DpopKey> {
  const { privateKey, publicKey } = await crypto.subtle.generateKey(
    { name: 'ECDSA', namedCurve: 'P-256' },
    false,
    ['sign', 'verify'],
  )
  const { x, y } = (await crypto.subtle.exportKey('jwk', publicKey)) as PublicJwk
  return { privateKey, publicJwk: { kty: 'EC', crv: 'P-256', x, y } }
}

/** Whether a key read from storage still signs: some engines give back `null` or an empty object. */
export async function isUsableKey(key: DpopKey | undefined): Promise<boolean> {
  try {
    const { privateKey, publicJwk } = key as DpopKey
    await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, privateKey, new Uint8Array(1))
    return !privateKey.extractable && typeof publicJwk.x === 'string' && typeof publicJwk.y === 'string'
  } catch {
    return false
  }
}
