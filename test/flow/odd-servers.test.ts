import { afterEach, describe, expect, test, vi } from 'vitest'
import { createTestClient, signInTo } from '../support/client.ts'
import { ALICE, APP, AS, at, createFakeNetwork, faults, PDS } from '../support/network.ts'
import { useDisk } from './disk.ts'
import { failureOf } from './failure.ts'
import { openPage } from './page.ts'
import { HOUR, MINUTE, moveDeviceClock, PING, record, refreshes, signedIn, warm } from './signed-in.ts'

// Servers that do what they may, but seldom do, and some that do what they should not.

const disk = useDisk()
afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllGlobals()
})

test('a state that the server has percent-encoded is the same state (CB-01, CB-09)', async () => {
  const network = createFakeNetwork()
  const client = createTestClient(network, { storage: 'auto' })
  let callback = ''
  do callback = network.approve((await client.authorize(ALICE.handle)).url)
  while (!/state=[^&]*[-_]/.test(callback))
  client.close()
  const encoded = callback.replace(/state=[\w-]+/, (text) =>
    text.replaceAll('-', '%2D').replaceAll('_', '%5F'),
  )
  const page = openPage(encoded)
  const session = await createTestClient(network, { storage: 'auto' }).initialize()
  expect(session?.did).toBe(ALICE.did)
  expect(page.url.href).not.toContain('code=')
})

describe('what a server echoes of a request stays out of the error', () => {
  const TOKEN = 'RT/part+part/part=='
  type Echo = (request: { text: string; form: Readonly<Record<string, string>> }) => string
  const echo = (words: string) => JSON.stringify({ error: 'invalid_request', error_description: words })

  test.each<[string, Echo]>([
    ['plain', ({ form }) => echo(`Bad token ${form.refresh_token}`)],
    ['with its slashes escaped', ({ form }) => echo(`Bad ${form.refresh_token}`).replaceAll('/', '\\/')],
    [
      'with its plus signs escaped',
      ({ form }) => echo(`Bad ${form.refresh_token}`).replaceAll('+', '\\u002B'),
    ],
    ['as it was sent', ({ text }) => echo(`Cannot read ${text}`)],
  ])('%s (R10, STO-01)', async (_name, body) => {
    const network = createFakeNetwork()
    network.on(
      at.exchange,
      faults.changeJson((answer) => ({ ...answer, refresh_token: TOKEN })),
    )
    const session = await signInTo(network, createTestClient(network), ALICE.handle)
    network.on(at.refresh, (request) => {
      const headers = { 'content-type': 'application/json', 'dpop-nonce': 'abcdefgh' }
      return new Response(body(request), { status: 400, headers })
    })
    const error = await failureOf(network, session.refresh())
    expect(error.oauthError).toBe('invalid_request')
    for (const said of [error.message, JSON.stringify(error)]) {
      expect(said).not.toContain(TOKEN)
      expect(said).not.toContain(encodeURIComponent(TOKEN))
    }
  })

  test.each(['in', 'error', '"'])('and a code like %j does not garble it (TOK-02, G19)', async (code) => {
    const network = createFakeNetwork()
    const client = createTestClient(network)
    const callback = new URL(network.approve((await client.authorize(ALICE.handle)).url))
    callback.hash = callback.hash.replace(/code=[^&]+/, `code=${encodeURIComponent(code)}`)
    const error = await failureOf(network, client.handleCallback(callback))
    expect(error).toMatchObject({ code: 'token_request_failed', oauthError: 'invalid_grant' })
  })
})

test('a wrong clock is mended also where the app’s root leads elsewhere (DPOP-23)', async () => {
  const { network, session } = await signedIn()
  network.on({ role: 'app', path: '/' }, faults.redirectTo(`${APP}/en/`, 302))
  moveDeviceClock(network, -30 * MINUTE)
  await session.refresh()
  expect(refreshes(network)).toBe(1)
})

test.each([
  ['its page for everything', faults.html(200)],
  ['a redirect to its front page', faults.redirectTo(`${AS}/`, 302)],
  ['403', faults.status(403, {})],
  ['405', faults.status(405)],
  ['410', faults.status(410)],
])(
  'an authorization server that is no PDS and says so with %s can be signed in at (DID-14, PRM-07)',
  async (_name, handler) => {
    const network = createFakeNetwork()
    network.on({ role: 'as', path: '/.well-known/oauth-protected-resource' }, handler)
    const session = await signInTo(network, createTestClient(network), AS)
    expect(session).toMatchObject({ issuer: AS, did: ALICE.did, pds: PDS })
  },
)

describe('an error code of another form than usual', () => {
  test.each(['Access.Denied', 'invalid-scope', 'urn:example:blocked', 'https://as.signet.dev/errors/7'])(
    'ends the sign-in as a refusal: %s (CB-05, CB-06)',
    async (deny) => {
      const network = createFakeNetwork()
      const client = createTestClient(network, { storage: 'auto' })
      const { url } = await client.authorize(ALICE.handle)
      const error = await failureOf(network, client.handleCallback(network.approve(url, { deny })))
      expect(error).toMatchObject({ code: 'authorization_refused', oauthError: deny })
      expect(await disk.read('authorizations')).toEqual(new Map())
    },
  )

  test.each(['access_denied', 'access-denied'])('is told by a popup: %s (CB-14)', async (deny) => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const network = createFakeNetwork()
    const { popup, shown } = openWindow()
    const outcome = createTestClient(network, { storage: 'auto' })
      .signInWithPopup(ALICE.handle)
      .catch((error: { code: string }) => error.code)
    const callback = network.approve(await shown, { deny })
    await createTestClient(network, { storage: 'auto' })
      .handleCallback(callback)
      .catch(() => {})
    expect(await Promise.race([outcome, turns(5)])).toBe('authorization_refused')
    expect(popup.close).toHaveBeenCalled()
  })
})

test('a refresh token with a space replaces the old one (REF-02, INV8)', async () => {
  const { network, session } = await warm()
  const token = 'RT part two'
  network.on(at.refresh, async (_request, next) => {
    const response = await next()
    if (response.status !== 200) return response
    const body = (await response.json()) as Record<string, unknown>
    const [known] = network.pds.world.sessions
    if (known) known.refreshToken = token
    return new Response(JSON.stringify({ ...body, refresh_token: token }), { headers: response.headers })
  })
  network.clock.advance(2 * HOUR)
  expect((await session.fetch(PING)).status).toBe(200)
  network.clock.advance(2 * HOUR)
  expect((await session.fetch(PING)).status).toBe(200)
  expect(network.requests(at.refresh).at(-1)?.form.refresh_token).toBe(token)
  expect(network.sessionAlive(ALICE.did)).toBe(true)
})

test.each(['text/plain', 'text/html', ''])(
  'tokens that come as %j are revoked (TOK-11, R7, INV9)',
  async (type) => {
    const network = createFakeNetwork()
    network.on(at.exchange, faults.changeHeaders({ 'content-type': type }))
    const error = await failureOf(network, signInTo(network, createTestClient(network), ALICE.handle))
    expect(error.code).toBe('token_response_invalid')
    expect(network.sessions()).toMatchObject([{ alive: false, endedBy: 'revocation' }])
  },
)

describe('a session without refresh token', () => {
  test('outlives one refusal while it has time left (RS-07, R9)', async () => {
    const network = createFakeNetwork()
    network.on(
      at.exchange,
      faults.changeJson(({ refresh_token: _, ...answer }) => answer),
    )
    const session = await signInTo(network, createTestClient(network), ALICE.handle)
    await session.fetch(PING)
    network.clock.advance(MINUTE)
    const headers = { 'dpop-nonce': 'abcdefgh', 'www-authenticate': 'DPoP error="invalid_token"' }
    network.on(at.resource, faults.answer({}, { status: 401, headers }), { times: 1 })
    expect((await session.fetch(PING)).status).toBe(401)
    expect((await session.fetch(PING)).status).toBe(200)
    expect(session.status).toBe('active')
  })

  test('and without a lifetime is not ending as soon as it begins (TOK-12, REF-12)', async () => {
    const network = createFakeNetwork()
    network.on(
      at.exchange,
      faults.changeJson(({ refresh_token: _, expires_in: __, ...answer }) => answer),
    )
    const client = createTestClient(network)
    const { diagnostics } = record(client)
    const session = await signInTo(network, client, ALICE.handle)
    await session.fetch(PING)
    expect(session.account.endsAt).toBeGreaterThan(network.clock.now())
    expect(diagnostics).toEqual([])
  })
})

// Smaller ones
test.each([
  'DPoP algs="ES256", DPoP error="use_dpop_nonce"',
  'Negotiate TlRM/U1NQ, DPoP error="use_dpop_nonce"',
])('a nonce is asked for by %s (DPOP-15)', async (header) => {
  const { network, session } = await warm()
  const headers = { 'dpop-nonce': 'freshfreshfresh', 'www-authenticate': header }
  network.on(at.resource, faults.answer({}, { status: 401, headers }), { times: 1 })
  const before = network.count(at.resource)
  await session.fetch(PING)
  expect(network.count(at.resource) - before).toBe(2)
})

test.each(['\u009b31m', '\u0085', '\u2028'])('no message has %j in it (CB-03)', async (char) => {
  const network = createFakeNetwork()
  const client = createTestClient(network)
  const callback = new URL(network.approve((await client.authorize(ALICE.handle)).url))
  callback.hash = callback.hash.replace(/iss=[^&]+/, `iss=${encodeURIComponent(`https://x${char}.dev`)}`)
  const error = await failureOf(network, client.handleCallback(callback))
  expect(error.message).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
})

test('tokens in a callback do not stay in the address bar (CB-09, CB-11)', async () => {
  const network = createFakeNetwork()
  const client = createTestClient(network, { storage: 'auto' })
  const callback = network.approve((await client.authorize(ALICE.handle)).url)
  client.close()
  const page = openPage(`${callback}&access_token=AT&id_token=ID`)
  await failureOf(network, createTestClient(network, { storage: 'auto' }).initialize())
  expect(page.url.href).not.toMatch(/access_token|id_token/)
})

function openWindow() {
  const { promise: shown, resolve: show } = Promise.withResolvers<string>()
  const popup = { closed: false, opener: {} as unknown, close: vi.fn(), location: { replace: show } }
  vi.stubGlobal('window', { open: () => popup })
  vi.stubGlobal('close', () => {})
  return { popup, shown }
}

async function turns(count: number): Promise<string> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve))
  return 'still waiting'
}

test.each<[string, Parameters<typeof faults.status>, RegExp]>([
  ['is out of order', [503, { error: 'x' }], /cannot answer at the moment.*try again later/],
  ['knows no such app', [400, { error: 'invalid_client_metadata' }], /This app is not set up correctly/],
  ['gave the request up', [400, { error: 'invalid_grant' }], /start again/],
])('a person is told what helps when a server %s', async (_what, answer, words) => {
  const network = createFakeNetwork()
  network.on(at.par, faults.status(...answer))
  const error = await failureOf(network, createTestClient(network).authorize(ALICE.handle))
  expect(error.userMessage).toMatch(words)
})

test.each([408, 429, 503])(
  'a server that answers %i has not said that it is no PDS (DID-14)',
  async (status) => {
    const network = createFakeNetwork()
    network.on({ role: 'as', path: '/.well-known/oauth-protected-resource' }, faults.status(status, {}))
    const error = await failureOf(network, createTestClient(network).authorize(AS))
    expect(error).toMatchObject({ code: 'resource_metadata_invalid', status })
  },
)

test('a handle that was verified stands when its person signs in again by DID and nobody can be asked', async () => {
  const network = createFakeNetwork()
  const client = createTestClient(network)
  await signInTo(network, client, ALICE.handle)
  network.on(at.resolver, faults.unreachable())
  const session = await signInTo(network, client, ALICE.did)
  expect(session.account.handle).toBe(ALICE.handle)
})
