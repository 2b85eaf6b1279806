import type { PublicJwk } from '../types.ts'
import { sha256Base64url } from './encoding.ts'

/** The key's `jkt`: SHA-256 over its required members in their order (RFC 7638 §3.2, RFC 9449 §10.1). */
export function calculateThumbprint({ crv, kty, x, y }: PublicJwk): Promise<string> {
  return sha256Base64url(JSON.stringify({ __proto__: null, crv, kty, x, y }))
}
