import { describe, expect, test } from 'vitest'
import { sha256Base64url } from '../../src/dpop/encoding.ts'
import { calculateThumbprint } from '../../src/dpop/thumbprint.ts'
import type { PublicJwk } from '../../src/types.ts'

// The key of RFC 9449 §4.2 (figure 2).
const publicJwk: PublicJwk = {
  kty: 'EC',
  x: 'l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs',
  y: '9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA',
  crv: 'P-256',
}

// Its `jkt` in RFC 9449 §6.1.
const jkt = '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I'

describe('calculateThumbprint', () => {
  test('gives the jkt of its example key (RFC 9449 §6.1)', async () => {
    expect(await calculateThumbprint(publicJwk)).toBe(jkt)
  })

  test('depends on the required members only, in whatever order (RFC 7638 §3.2)', async () => {
    const { crv, kty, x, y } = publicJwk
    const decorated = { use: 'sig', y, alg: 'ES256', x, kid: 'any', kty, ext: true, crv }
    expect(await calculateThumbprint(decorated)).toBe(jkt)
  })

  test('differs when a coordinate does', async () => {
    expect(await calculateThumbprint({ ...publicJwk, x: publicJwk.y, y: publicJwk.x })).not.toBe(jkt)
  })
})

describe('sha256Base64url', () => {
  test('gives the ath of the example token (RFC 9449 §7.1)', async () => {
    expect(await sha256Base64url('Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU')).toBe(
      'fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo',
    )
  })
})
