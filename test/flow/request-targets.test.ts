import { describe, expect, test } from 'vitest'
import { at, EVIL, faults, PDS, PDS2 } from '../support/network.ts'
import { failureOf } from './failure.ts'
import { PING, signedIn, warm } from './signed-in.ts'

test('puts the token into the authorization header of the DPoP scheme, and nowhere else (RS-01)', async () => {
  const { network, session } = await warm()
  await session.fetch(`${PING}?x=1`, { method: 'POST', body: 'hello' })
  const request = network.requests(at.resource).at(-1)
  const token = network.sessions()[0]?.accessToken ?? 'none'
  expect(request?.headers.get('authorization')).toBe(`DPoP ${token}`)
  expect(request?.proof).toBeDefined()
  expect(request?.url).not.toContain(token)
  expect(request?.text).toBe('hello')
  network.assertClean()
})

test.each([
  ['a path', PING],
  ['a path with a query', `${PING}?a=b`],
  ['a URL', `${PDS}${PING}`],
  ['a URL object', new URL(PING, PDS)],
  ['a Request', new Request(`${PDS}${PING}`)],
])('takes %s (RS-02, RS-08)', async (_name, input) => {
  const { network, session } = await warm()
  expect((await session.fetch(input)).status).toBe(200)
  network.assertClean()
})

describe('refuses without a request', () => {
  test.each([
    `${EVIL}/xrpc/x`,
    `${PDS2}/xrpc/x`,
    `http://pds.signet.dev/xrpc/x`,
    `https://pds.signet.dev:8443/xrpc/x`,
    `https://pds.signet.dev.attacker.dev/xrpc/x`,
    `https://pds.signet.dev@evil.attacker.dev/xrpc/x`,
    `https://user:password@pds.signet.dev/xrpc/x`,
    `wss://pds.signet.dev/xrpc/x`,
    'data:application/json,{}',
    'javascript:alert(1)',
    `blob:${PDS}/xrpc/x`,
  ])('the URL %s (RS-02, J01)', async (input) => {
    const { network, session } = await signedIn()
    const before = network.log.length
    expect((await failureOf(network, session.fetch(input))).code).toBe('url_forbidden')
    expect(network.log.length).toBe(before)
    network.assertClean()
  })

  test.each([
    '//evil.attacker.dev/xrpc/x',
    '///evil.attacker.dev/xrpc/x',
    '/\\evil.attacker.dev/xrpc/x',
    '\\\\evil.attacker.dev/xrpc/x',
    '\\/evil.attacker.dev/xrpc/x',
    '/%5cevil.attacker.dev/xrpc/x',
    'h\nttps://evil.attacker.dev/xrpc/x',
    '\thttps://evil.attacker.dev/xrpc/x',
    '/\t/evil.attacker.dev/xrpc/x',
    ' //evil.attacker.dev/xrpc/x',
    '/xrpc/\n../../x',
    '/xrpc/a\tb',
    '/xrpc\\x',
    'https:evil.attacker.dev/xrpc/x',
    'https:///evil.attacker.dev/xrpc/x',
  ])('the disguised URL %j (RS-02, J02)', async (input) => {
    const { network, session } = await signedIn()
    const before = network.log.length
    expect((await failureOf(network, session.fetch(input))).code).toBe('url_forbidden')
    expect(network.log.length).toBe(before)
    network.assertClean()
  })

  test.each([
    '/xrpc/../oauth/token',
    '/xrpc/%2e%2e/oauth/token',
    '/xrpc/.%2E/oauth/token',
    '/xrpc/./x',
    '/xrpc/..%2foauth%2ftoken',
    '/xrpc/%2e%2e%2foauth/token',
    '/xrpc/..%5coauth%5ctoken',
    '/oauth/token',
    '/oauth/revoke',
    '/account',
    '/.well-known/oauth-protected-resource',
    '/xrpc',
    '/XRPC/x',
    '/xrpcx/y',
    'xrpc/x',
    '/',
    '',
    '?x',
    '#x',
  ])('the path %j, which is no method of the PDS (RS-02, J04)', async (input) => {
    const { network, session } = await signedIn({ standalone: true })
    const before = network.log.length
    expect((await failureOf(network, session.fetch(input))).code).toBe('url_forbidden')
    expect(network.log.length).toBe(before)
    network.assertClean()
  })

  test.each([
    ['a Request', new Request(`${EVIL}/xrpc/x`)],
    ['a Request for another path', new Request(`${PDS}/oauth/token`)],
    ['a URL object', new URL(`${EVIL}/xrpc/x`)],
    ['an object that reads as a URL', { toString: () => `${EVIL}/xrpc/x` } as unknown as string],
  ])('%s elsewhere (RS-02, J06)', async (_name, input) => {
    const { network, session } = await signedIn()
    const before = network.log.length
    expect((await failureOf(network, session.fetch(input))).code).toBe('url_forbidden')
    expect(network.log.length).toBe(before)
    network.assertClean()
  })
})

describe('follows no redirect', () => {
  const elsewhere = `${EVIL}/xrpc/dev.signet.ping`

  test.each([301, 302, 303, 307, 308])('of a read to another origin by %i (RS-03, J07)', async (status) => {
    const { network, session } = await warm()
    network.on(at.resource, faults.redirectTo(elsewhere, status))
    const error = await failureOf(network, session.fetch(PING))
    expect(error).toMatchObject({ code: 'response_invalid', issues: ['redirect'] })
    expect(network.count(at.evil)).toBe(0)
    network.assertClean()
  })

  test.each([302, 307, 308])('of a write to another origin by %i (RS-03, J08)', async (status) => {
    const { network, session } = await warm()
    network.on(at.resource, faults.redirectTo(elsewhere, status))
    const body = JSON.stringify({ text: 'private' })
    const error = await failureOf(network, session.fetch(PING, { method: 'POST', body }))
    expect(error.code).toBe('response_invalid')
    expect(network.count(at.evil)).toBe(0)
    network.assertClean()
  })

  test('to another path of the PDS, which the proof is not for (RS-03, J09)', async () => {
    const { network, session } = await warm()
    network.on({ ...at.resource, path: PING }, faults.redirectTo(`${PDS}/xrpc/dev.signet.other`))
    const before = network.count(at.resource)
    expect((await failureOf(network, session.fetch(PING))).code).toBe('response_invalid')
    expect(network.count(at.resource) - before).toBe(1)
    network.assertClean()
  })

  test('even when the app asks for it (RS-03)', async () => {
    const { network, session } = await warm()
    network.on(at.resource, faults.redirectTo(elsewhere))
    const error = await failureOf(network, session.fetch(PING, { redirect: 'follow' }))
    expect(error.code).toBe('response_invalid')
    expect(network.count(at.evil)).toBe(0)
    network.assertClean()
  })
})

test('sends requests where the DID document says, whatever the token says (RS-11)', async () => {
  const claims = Buffer.from(
    JSON.stringify({ aud: EVIL, iss: EVIL, sub: 'did:web:evil.attacker.dev', exp: 1 }),
  )
  const token = `eyJhbGciOiJub25lIn0.${claims.toString('base64url')}.signature`
  const { network, session } = await signedIn()
  network.on(
    at.refresh,
    faults.changeJson((answer) => {
      const [issued] = network.sessions()
      if (issued) issued.accessToken = token
      return { ...answer, access_token: token, aud: EVIL, resource: EVIL }
    }),
  )
  await session.refresh()
  expect(session.pds).toBe(PDS)
  expect((await session.fetch(PING)).status).toBe(200)
  expect(network.log.at(-1)).toMatchObject({ origin: PDS, accessToken: token })
  expect(network.count(at.evil)).toBe(0)
})

describe('headers of the app', () => {
  test.each([
    [
      'an object',
      { 'Atproto-Proxy': 'did:web:api.dev#x', 'atproto-accept-labelers': 'did:plc:a', 'x-own': '1' },
    ],
    [
      'a Headers object',
      new Headers({
        'atproto-proxy': 'did:web:api.dev#x',
        'atproto-accept-labelers': 'did:plc:a',
        'x-own': '1',
      }),
    ],
    [
      'pairs',
      [
        ['atproto-proxy', 'did:web:api.dev#x'],
        ['Atproto-Accept-Labelers', 'did:plc:a'],
        ['x-own', '1'],
      ] as [string, string][],
    ],
  ])('arrive, given as %s (RS-08, J24)', async (_name, headers) => {
    const { network, session } = await warm()
    const response = await session.fetch(PING, { headers })
    expect((await response.json()).headers).toMatchObject({
      'atproto-proxy': 'did:web:api.dev#x',
      'atproto-accept-labelers': 'did:plc:a',
      'x-own': '1',
    })
    network.assertClean()
  })

  test('of a Request arrive with its method and body (RS-08, J06)', async () => {
    const { network, session } = await warm()
    const request = new Request(`${PDS}${PING}`, {
      method: 'POST',
      body: '{"a":1}',
      headers: { 'content-type': 'application/json', 'atproto-proxy': 'did:web:api.dev#x' },
    })
    const echo = await (await session.fetch(request)).json()
    expect(echo).toMatchObject({
      method: 'POST',
      body: '{"a":1}',
      headers: { 'content-type': 'application/json', 'atproto-proxy': 'did:web:api.dev#x' },
    })
    network.assertClean()
  })

  test.each([
    'Authorization',
    'authorization',
    'DPoP',
    'dpop',
    'Cookie',
    'Host',
    'Origin',
    'Proxy-Authorization',
    'proxy-connection',
    'Sec-Fetch-Site',
    'sec-own',
  ])('that are not its own to set are refused: %s (RS-08)', async (name) => {
    const { network, session } = await warm()
    const before = network.log.length
    const inputs = [
      session.fetch(PING, { headers: { [name]: 'x' } }),
      session.fetch(PING, { headers: new Headers([[name, 'x']]) }),
      session.fetch(PING, { headers: [[name, 'x']] }),
      session.fetch(new Request(`${PDS}${PING}`, { headers: { [name]: 'x' } })),
    ]
    for (const input of inputs) expect((await failureOf(network, input)).code).toBe('header_forbidden')
    expect(network.log.length).toBe(before)
  })
})

test('credentials, referrer and mode are the library’s, whatever the app asks for (RS-08, STO-11)', async () => {
  const { network, session } = await warm()
  await session.fetch(PING, {
    credentials: 'include',
    referrerPolicy: 'unsafe-url',
    referrer: 'https://app.signet.dev/secret',
    mode: 'no-cors',
  })
  expect(network.log.at(-1)).toMatchObject({
    credentials: 'omit',
    referrerPolicy: 'no-referrer',
    mode: 'cors',
  })
  network.assertClean()
})

test.each([
  ['options', (init: RequestInit): [string | Request, RequestInit?] => [PING, init]],
  [
    'a Request',
    (init: RequestInit): [string | Request, RequestInit?] => [new Request(`${PDS}${PING}`, init)],
  ],
])('how a request is sent is the app’s to say, in %s (RS-08)', async (_name, call) => {
  const { network, session } = await warm()
  await session.fetch(...call({ method: 'POST', body: 'x', keepalive: true, cache: 'reload' }))
  expect(network.log.at(-1)).toMatchObject({ method: 'POST', keepalive: true, cache: 'reload' })
  network.assertClean()
})

test('what other clients call the same function goes the same way (RS-01)', async () => {
  const { network, session } = await warm()
  const { fetchHandler, handle } = session
  expect((await fetchHandler(PING)).status).toBe(200)
  expect((await handle(PING)).status).toBe(200)
  expect((await failureOf(network, fetchHandler(`${EVIL}/xrpc/x`))).code).toBe('url_forbidden')
  network.assertClean()
})
