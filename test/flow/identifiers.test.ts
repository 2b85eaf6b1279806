import { beforeEach, describe, expect, test } from 'vitest'
import type { OAuthClient } from '../../src/index.ts'
import { createTestClient, signInTo } from '../support/client.ts'
import { ALICE, at, createFakeNetwork, DORA, type FakeNetwork, faults, PDS } from '../support/network.ts'

let network: FakeNetwork
let client: OAuthClient
let events: unknown[]
beforeEach(() => {
  network = createFakeNetwork()
  client = createTestClient(network)
  events = []
  client.on('session', (event) => events.push(event))
  client.on('diagnostic', (event) => events.push(event))
})

/** The error of a sign-in that must end before anything is asked of anybody, and leave nothing behind. */
async function refusal(input: unknown): Promise<Record<string, unknown>> {
  const snapshot = client.getSnapshot()
  const error = await client.authorize(input as string).then(
    () => Promise.reject(new Error('It was taken')),
    (reason) => reason,
  )
  await client.prefetch(input as string)
  expect(network.log).toEqual([])
  expect(events).toEqual([])
  expect(client.getSnapshot()).toBe(snapshot)
  return error
}

describe('what somebody types', () => {
  test.each([
    ['@alice.handles.dev', 'A01'],
    [' alice.handles.dev ', 'HDL-04'],
    [' @alice.handles.dev\u200e', 'HDL-04'],
    ['\u202a@alice.handles.dev\u202c', 'HDL-04'],
    ['\u2068alice.handles.dev\u2069', 'HDL-04'],
    ['\ufeffalice.handles.dev\r\n', 'HDL-04'],
    ['at://alice.handles.dev', 'HDL-04'],
    ['@ alice.handles.dev', 'HDL-04'],
    ['@\u2068alice.handles.dev\u2069', 'HDL-04'],
    ['ALICE.HANDLES.DEV', 'HDL-02'],
    ['@Alice.Handles.Dev', 'A17'],
  ])('may be %j and is sent as the bare handle only (%s)', async (input) => {
    const session = await signInTo(network, client, input)
    expect(session.account).toMatchObject({ did: ALICE.did, handle: ALICE.handle })
    expect(network.requests(at.resolver).map(({ query }) => query.get('handle'))).toEqual([ALICE.handle])
    expect(network.requests(at.par)[0]?.form.login_hint).toBe(ALICE.handle)
    for (const { url, text } of network.log) {
      expect(decodeURIComponent(url + text)).not.toMatch(/@|Alice|ALICE|HANDLES|[^\x20-\x7e]/)
    }
    network.assertClean()
  })

  test('is confirmed in any case of letters by a document in any other (HDL-02, A17)', async () => {
    network.on(
      at.plc,
      faults.changeJson((document) => ({ ...document, alsoKnownAs: ['at://aLICE.handles.DEV'] })),
    )
    const session = await signInTo(network, client, 'Alice.Handles.dev')
    expect(session.account.handle).toBe(ALICE.handle)
    network.assertClean()
  })

  test('may be a name in punycode, which stays as it is (A07)', async () => {
    const handle = 'xn--bcher-kva.handles.dev'
    network.addAccount({ did: 'did:plc:bucherbucherbucherbucher', handle, pds: PDS })
    const session = await signInTo(network, client, handle)
    expect(session.account.handle).toBe(handle)
    expect(network.requests(at.resolver)[0]?.query.get('handle')).toBe(handle)
    network.assertClean()
  })

  test.each([
    ['a label is empty', 'a..b'],
    ['a label begins with a hyphen', '-alice.handles.dev'],
    ['a label ends with a hyphen', 'alice-.handles.dev'],
    ['a label has 64 characters', `${'a'.repeat(64)}.dev`],
    ['it has 254 characters', `${'a.'.repeat(125)}devs`],
    ['it is a single label', 'alice'],
    ['its last label begins with a digit', 'alice.123'],
    ['it begins with a dot', '.alice.dev'],
    ['it ends with a dot', 'alice.dev.'],
    ['it is an IPv4 address', '127.0.0.1'],
    ['it is an IPv6 address', '[::1]'],
    ['it has a path', 'alice.dev/profile'],
    ['it has a port', 'alice.dev:443'],
    ['it has two at signs', '@@alice.dev'],
    ['it is an e-mail address', 'alice@handles.dev'],
    ['a space is inside', 'alice .dev'],
    ['it is empty', ''],
    ['it is nothing but white space', ' \t\n'],
    ['it is nothing but an at sign', '@'],
    ['it is far too long', 'alice.'.repeat(20_000)],
  ])('is refused without a request where %s (HDL-01, A09)', async (_what, input) => {
    expect(await refusal(input)).toMatchObject({ code: 'identifier_invalid', retryable: false })
  })

  test.each(
    [0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069].map((point) => [
      point.toString(16).toUpperCase(),
      String.fromCodePoint(point),
    ]),
  )('is refused with U+%s inside, and shown with code points (HDL-01, A03)', async (point, control) => {
    const error = await refusal(`ali${control}ce.handles.dev`)
    expect(error).toMatchObject({ code: 'identifier_invalid', input: expect.stringContaining(`U+${point}`) })
    expect(String(error.message) + error.userMessage + JSON.stringify(error)).not.toContain(control)
  })

  test.each([
    ['the Kelvin sign', 'ban\u212a.handles.dev', 'A04', '212A'],
    ['a Greek rho', '\u03c1aypal.handles.dev', 'A06', '03C1'],
    ['a dotted capital I', 'al\u0130ce.handles.dev', 'A04', '0130'],
    ['full-width letters', '\uff41lice.handles.dev', 'A06', 'FF41'],
    ['an ideographic full stop', 'alice\u3002handles.dev', 'A06', '3002'],
    ['a soft hyphen', 'al\u00adice.handles.dev', 'A06', '00AD'],
  ])(
    'is refused with %s, not turned into another name: %j (HDL-01, %s)',
    async (_what, input, _row, point) => {
      expect(await refusal(input)).toMatchObject({
        code: 'identifier_invalid',
        input: expect.stringContaining(`U+${point}`),
      })
    },
  )

  test.each([
    'laptop.local',
    'alice.onion',
    'alice.alt',
    'alice.arpa',
    'alice.example',
    'alice.internal',
    'alice.invalid',
    'alice.localhost',
    'alice.test',
    'handle.invalid',
    'ALICE.LOCAL',
    '@alice.onion',
  ])('is refused without a request if nothing can be found there: %s (HDL-03)', async (input) => {
    expect(await refusal(input)).toMatchObject({ code: 'identifier_invalid', retryable: false })
  })

  test('may end in .test in development only (HDL-03)', async () => {
    const handle = 'alice.test'
    network.addAccount({ did: 'did:plc:testtesttesttesttesttest', handle, pds: PDS })
    expect(await refusal(handle)).toMatchObject({ code: 'identifier_invalid' })
    const developer = createTestClient(network, { allowHttp: true })
    expect((await signInTo(network, developer, handle)).account.handle).toBe(handle)
    network.assertClean()
  })

  test.each([
    ['undefined', undefined],
    ['null', null],
    ['a number', 42],
    ['an array', [ALICE.handle]],
    ['a String object', new String(ALICE.handle)],
  ])('has to be a string, not %s (A16)', async (_what, input) => {
    expect(await refusal(input)).toMatchObject({ code: 'identifier_invalid', retryable: false })
  })

  test('is not converted to a string (A16)', async () => {
    let conversions = 0
    const convert = () => {
      conversions++
      return ALICE.handle
    }
    const input = { toString: convert, valueOf: convert, toJSON: convert, [Symbol.toPrimitive]: convert }
    expect(await refusal(input)).toMatchObject({ code: 'identifier_invalid' })
    expect(conversions).toBe(0)
  })
})

describe('a DID that somebody types', () => {
  test.each([
    ['did:plc:short', 'A13'],
    [`${ALICE.did}a`, 'DID-03'],
    [ALICE.did.slice(0, -1), 'DID-03'],
    ['did:plc:alicealicealicealiceali1', 'DID-03'],
    ['did:plc:Alicealicealicealicealic', 'A13'],
    [ALICE.did.replace('did:plc', 'DID:plc'), 'A13'],
    [ALICE.did.replace('did:plc', 'did:PLC'), 'DID-02'],
    [`${ALICE.did}:`, 'DID-02'],
    [`${ALICE.did}%`, 'DID-02'],
    [`${ALICE.did}?x=1`, 'DID-02'],
    [`${ALICE.did}#atproto`, 'DID-02'],
    ['did:', 'DID-02'],
    [`did:web:${'a.'.repeat(1020)}dev`, 'DID-02'],
    ['did:web:a.dev:path', 'DID-05'],
    ['did:web:a.dev%3A8080', 'DID-05'],
    ['did:web:x.local', 'DID-05'],
    ['did:web:x.onion', 'DID-05'],
    ['did:web:x.test', 'DID-05'],
    ['did:web:localhost', 'DID-05'],
    ['did:web:localhost%3A2583', 'DID-06'],
    ['did:web:127.0.0.1', 'DID-05'],
    ['did:web:X.dev', 'DID-05'],
  ])('is refused without a request: %s (%s)', async (input) => {
    expect(await refusal(input)).toMatchObject({ code: 'identifier_invalid', retryable: false })
  })

  test.each([
    'did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK',
    'did:webvh:QmaJp4pmb8RUk4oaDyWQcjeqYbvxsc3kXrBTzXLYDbcSfN:alice.dev',
    'did:ethr:0xb9c5714089478a327f09197987f16f9e5d936e8a',
  ])('is told to be of a method that is not supported: %s (DID-01, A13)', async (input) => {
    expect(await refusal(input)).toMatchObject({ code: 'did_unsupported', retryable: false })
  })

  test('is malformed, unsupported, unknown or unreachable, each with its own code (DID-01)', async () => {
    network.on(at.plc, faults.unreachable(), { times: 1 })
    const codes: string[] = []
    for (const input of ['DID:plc:x', 'did:key:z6Mk', ALICE.did, 'did:plc:nobodynobodynobodynobody']) {
      codes.push(
        await client.authorize(input).then(
          () => 'none',
          ({ code }) => code,
        ),
      )
    }
    expect(codes).toEqual(['identifier_invalid', 'did_unsupported', 'network_failed', 'did_not_found'])
  })

  test.each([
    ['did:plc', ALICE],
    ['did:web', DORA],
  ])('may have white space and invisible marks around it: %s (HDL-04)', async (_what, account) => {
    expect((await signInTo(network, client, ` \u200e${account.did}\u200f\n`)).did).toBe(account.did)
    network.assertClean()
  })
})
