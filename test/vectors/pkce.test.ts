import { describe, expect, test } from 'vitest'
import { createCodeChallenge, createCodeVerifier } from '../../src/authorization/pkce.ts'

describe('createCodeChallenge', () => {
  test('gives the challenge of RFC 7636 appendix B (PKCE-02)', async () => {
    expect(await createCodeChallenge('dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk')).toBe(
      'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
    )
  })

  test('never gives back the verifier itself (PKCE-02)', async () => {
    const verifier = createCodeVerifier()
    expect(await createCodeChallenge(verifier)).not.toBe(verifier)
  })

  test('gives 43 base64url characters without padding (PKCE-02)', async () => {
    for (const verifier of ['a'.repeat(43), '~'.repeat(128), createCodeVerifier()]) {
      expect(await createCodeChallenge(verifier)).toMatch(/^[A-Za-z0-9_-]{43}$/)
    }
  })
})

describe('createCodeVerifier', () => {
  const verifiers = Array.from({ length: 1000 }, createCodeVerifier)

  test('makes 43 to 128 unreserved characters (PKCE-01)', () => {
    for (const verifier of verifiers) expect(verifier).toMatch(/^[A-Za-z0-9._~-]{43,128}$/)
  })

  test('makes a different one every time (PKCE-01)', () => {
    expect(new Set(verifiers).size).toBe(verifiers.length)
  })
})
