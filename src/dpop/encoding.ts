import { base64url } from 'jose'

const encoder = new TextEncoder()

export function encodeUtf8(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(text)
}

/** Base64url without padding (RFC 7515 §2). */
export function encodeBase64url(data: string | Uint8Array): string {
  return base64url.encode(data)
}

/** A random token of `bytes` bytes, base64url. */
export function randomToken(bytes: number): string {
  return encodeBase64url(crypto.getRandomValues(new Uint8Array(bytes)))
}

/** BASE64URL(SHA-256(ASCII(text))): PKCE's challenge and DPoP's `ath`. */
export async function sha256Base64url(text: string): Promise<string> {
  return encodeBase64url(new Uint8Array(await crypto.subtle.digest('SHA-256', encodeUtf8(text))))
}
