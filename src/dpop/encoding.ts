import { base64url } from 'jose'

const encoder = new TextEncoder()
/** An array of its own for each text takes longer than all the rest of a proof but its signature. */
const scratch = new Uint8Array(8192)

/** The bytes are good until the next call: use them at once. WebCrypto copies what it is given before it returns. */
export function encodeUtf8(text: string): Uint8Array<ArrayBuffer> {
  // A character takes three bytes at most.
  if (text.length * 3 > scratch.length) return encoder.encode(text)
  return scratch.subarray(0, encoder.encodeInto(text, scratch).written)
}

/** Base64url without padding (RFC 7515 §2). */
export function encodeBase64url(data: string | Uint8Array): string {
  return base64url.encode(typeof data === 'string' ? encodeUtf8(data) : data)
}

/** A random token of `bytes` bytes, base64url. */
export function randomToken(bytes: number): string {
  return encodeBase64url(crypto.getRandomValues(new Uint8Array(bytes)))
}

/** BASE64URL(SHA-256(ASCII(text))): PKCE's challenge and DPoP's `ath`. */
export async function sha256Base64url(text: string): Promise<string> {
  return encodeBase64url(new Uint8Array(await crypto.subtle.digest('SHA-256', encodeUtf8(text))))
}
