import { beforeEach, describe, expect, test } from 'vitest'
import { createTestClient, signInTo } from '../support/client.ts'
import {
  ALICE,
  at,
  CLIENT_METADATA,
  createFakeNetwork,
  DOH,
  type FakeNetwork,
  faults,
  REDIRECT_URI,
} from '../support/network.ts'
import { cpuTime, WORK_MS } from './cpu-time.ts'

const SIZE = 100_000

let network: FakeNetwork
beforeEach(() => {
  network = createFakeNetwork()
})

/** The least of a few runs: a first one compiles, and one may collect garbage. */
async function fastest(work: () => unknown): Promise<number> {
  const attempt = () =>
    Promise.resolve()
      .then(work)
      .catch(() => {})
  const times: number[] = []
  for (let run = 0; run < 5 && Math.min(...times) > WORK_MS / 2; run++) times.push(await cpuTime(attempt))
  return Math.min(...times)
}

/** `text`, over and over. */
const long = (text: string, size = SIZE): string => text.repeat(Math.ceil(size / text.length)).slice(0, size)

describe('text made to be slow to read', () => {
  test.each([
    ['one label', long('a')],
    ['labels', `${long('a.')}dev`],
    ['hyphens', `${long('a-')}.dev`],
    ['dots', long('.')],
    ['quotation marks', long('"')],
    ['commas', long(',')],
    ['white space around and inside', `a${long(' \u200e')}b`],
    ['white space at the end of the limit', `a${long(' \u200e', 2040)}b`],
    ['hyphens at the end of the limit', `${long('a-', 2040)}!`],
    ['labels at the end of the limit', `${long('a.', 2040)}!`],
    ['colons', `did:web:${long(':')}`],
    ['colons at the end of the limit', `did:x:${long('a:', 2030)}%`],
    ['percent signs', `did:web:${long('%3A')}`],
    ['at signs', `https://${long('@')}`],
    ['slashes', `https:${long('/', 2030)}`],
  ])('is refused at once as an identifier: %s (O05)', async (_what, input) => {
    const client = createTestClient(network)
    await client.prefetch('')
    const time = await fastest(() => client.authorize(input))
    expect(network.log).toEqual([])
    expect(time).toBeLessThan(WORK_MS)
  })

  test.each([
    ['a scope of one word', { scope: `atproto ${long('a')}"` }],
    ['ports', { redirectUri: `http://127.0.0.1${long(':0')}` }],
    ['loopback addresses', { redirectUri: long('http://127.0.0.1:') }],
    ['labels', { plcDirectory: `https://${long('a.')}` }],
    ['slashes', { plcDirectory: `https://plc.dev${long('/')}x` }],
    ['a client_id', { clientMetadata: { ...CLIENT_METADATA, client_id: `https://${long('a.')}` } }],
    [
      'a redirect URI',
      { clientMetadata: { ...CLIENT_METADATA, redirect_uris: [`https://${long('a:443')}`] } },
    ],
    ['a declared scope', { clientMetadata: { ...CLIENT_METADATA, scope: `${long('a ')}"` } }],
    ['a client_uri', { clientMetadata: { ...CLIENT_METADATA, client_uri: `https://${long('a.')}` } }],
  ])('is refused at once as an option: %s (O05)', async (_what, options) => {
    expect(() => createTestClient(network, options)).toThrow(TypeError)
    expect(await fastest(() => createTestClient(network, options))).toBeLessThan(WORK_MS)
  })

  test.each([
    ['of an unclosed string', `"${long('\\"', 8_000)}`],
    ['of quotation marks', long('"', 4_000)],
    ['of back slashes', `"${long('\\', 8_001)}`],
    ['of open strings', long('"a\\', 8_000)],
    ['of a DID', `did=did:web:${long('a.', 15_000)}%`],
  ])('is read at once in a TXT record: %s (O05)', async (_what, data) => {
    const body = { Status: 0, Answer: [{ type: 16, data }] }
    network.on(at.doh, faults.answer(body, { headers: { 'content-type': 'application/dns-json' } }))
    const client = createTestClient(network, { handleResolver: { type: 'dns', url: DOH } })
    expect(JSON.stringify(body).length).toBeLessThan(16_384)
    await client.prefetch('')
    const time = await fastest(() => client.authorize(ALICE.handle))
    expect(network.count(at.doh)).toBeGreaterThan(0)
    expect(time).toBeLessThan(WORK_MS)
  })

  test.each([
    ['labels in an alias', { alsoKnownAs: [`at://${long('a.', 60_000)}!`] }],
    ['hyphens in an alias', { alsoKnownAs: [`at://${long('a-', 60_000)}!`] }],
    ['many aliases', { alsoKnownAs: Array(800).fill(`at://${long('a-', 60)}!`) }],
    [
      'an endpoint',
      {
        service: [
          {
            id: '#atproto_pds',
            type: 'AtprotoPersonalDataServer',
            serviceEndpoint: `https://${long('a.', 60_000)}`,
          },
        ],
      },
    ],
    ['many services', { service: Array(10_000).fill(null) }],
    ['an id', { id: long('did:', 60_000) }],
  ])('is read at once in a DID document: %s (O05)', async (_what, changes) => {
    network.on(
      at.plc,
      faults.changeJson((document) => ({ ...document, ...changes })),
    )
    const client = createTestClient(network)
    await client.prefetch(ALICE.handle)
    const time = await fastest(() => client.authorize(ALICE.handle))
    expect(network.count(at.plc)).toBeGreaterThan(0)
    expect(network.count(at.par)).toBe(0)
    expect(time).toBeLessThan(WORK_MS)
  })

  test.each([
    ['state', `#state=${long('a')}&code=x`],
    ['code', `#state=${long('a', 43)}&iss=x&code=${long('%20')}`],
    ['parameters', `?${long('state=&')}`],
    ['separators', `#state=x${long('&')}`],
    ['issuer', `#state=${long('a', 43)}&code=x&iss=https://${long('a.')}`],
  ])('is refused at once in a callback: %s (O05)', async (_what, callback) => {
    const client = createTestClient(network)
    await client.prefetch('')
    expect(await fastest(() => client.handleCallback(REDIRECT_URI + callback))).toBeLessThan(WORK_MS)
  })

  test.each([
    ['parameters', `DPoP ${long('a=b,')}`],
    ['schemes', long('DPoP ')],
    ['commas', `DPoP ${long(',')}`],
    ['quotation marks', `DPoP error="${long('\\"')}`],
    ['equals signs', `DPoP error=${long('=')}`],
    ['white space', `DPoP${long(' ')}error=x`],
    ['quotation marks at the end of the limit', `DPoP error="${long('\\"', 8_000)}`],
    ['equals signs at the end of the limit', `DPoP ${long('a=', 8_000)}`],
    ['white space at the end of the limit', `DPoP${long(' ', 8_000)}"`],
    ['words at the end of the limit', long('a ', 8_000)],
  ])('is read at once in a challenge of a PDS: %s (O05)', async (_what, challenge) => {
    const session = await signInTo(network, createTestClient(network), ALICE.handle)
    network.on(at.resource, faults.status(401, {}, { 'www-authenticate': challenge }))
    const time = await fastest(async () => (await session.fetch('/xrpc/dev.signet.getThing')).status)
    expect(time).toBeLessThan(WORK_MS)
  })
})
