import { randomToken, sha256Base64url } from '../dpop/encoding.ts'

/** A verifier of 256 random bits (RFC 7636 §4.1, §7.1). */
export function createCodeVerifier(): string {
  return randomToken(32)
}

/** The verifier's `S256` challenge (RFC 7636 §4.2). */
export function createCodeChallenge(verifier: string): Promise<string> {
  return sha256Base64url(verifier)
}
