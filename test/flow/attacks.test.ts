import { afterEach, describe, expect, test, vi } from 'vitest'
import { createTestClient, signInTo } from '../support/client.ts'
import { ALICE, AS, at, BOB, createFakeNetwork, faults, PDS2 } from '../support/network.ts'
import { failureOf } from './failure.ts'
import { HOUR, PING, record, refreshes, SECOND, signedIn, warm } from './signed-in.ts'
import { createBrowser, editRow, type Row, readAll, signedInBrowser, write } from './tabs.ts'

afterEach(() => {
  vi.unstubAllGlobals()
  vi.useRealTimers()
})

/** Lets faked time pass, and everything that is not time go on, until `done()` or for `limit` milliseconds. */
async function pass(limit: number, done: () => boolean, each = (_ms: number) => {}): Promise<number> {
  let ms = 0
  for (; ms < limit && !done(); ms += 250) {
    for (let turn = 0; turn < 30; turn++) await new Promise((next) => setImmediate(next))
    await vi.advanceTimersByTimeAsync(250)
    each(250)
  }
  return ms
}
async function polluted<T>(name: string, descriptor: PropertyDescriptor, work: () => Promise<T>): Promise<T> {
  Object.defineProperty(Object.prototype, name, { ...descriptor, configurable: true })
  try {
    return await work()
  } finally {
    Reflect.deleteProperty(Object.prototype, name)
  }
}
const value = (value: unknown): PropertyDescriptor => ({ value, writable: true })

describe('a member of Object.prototype', () => {
  test.each([ALICE.handle, ALICE.did])('server: does not choose the server for %s', async (identifier) => {
    const network = createFakeNetwork()
    const client = createTestClient(network)
    await client.prefetch('')
    const { url } = await polluted('server', value(PDS2), () => client.authorize(identifier))
    expect(new URL(url).origin).toBe(AS)
    expect(network.requests({ path: '/oauth/par' }).map(({ origin }) => origin)).toEqual([AS])
  })
  test.each<[string, string, string]>([
    ['did', BOB.did, ALICE.handle],
    ['handle', BOB.handle, ALICE.did],
  ])('%s: does not change who is meant', async (name, other, identifier) => {
    const network = createFakeNetwork()
    const client = createTestClient(network)
    await client.prefetch('')
    const { url } = await polluted(name, value(other), () => client.authorize(identifier))
    expect(new URL(url).origin).toBe(AS)
  })
  test.each<[string, unknown]>([
    ['method', 'DELETE'],
    ['headers', { 'atproto-proxy': 'did:web:evil.attacker.dev#x' }],
    ['cache', 'force-cache'],
    ['signal', AbortSignal.abort()],
  ])('%s: is no option of a request made without options', async (name, given) => {
    const { network, session } = await warm()
    await polluted(name, value(given), () => session.fetch(PING))
    const request = network.log.at(-1)
    expect(request).toMatchObject({ method: 'GET', cache: 'default' })
    expect(request?.headers.has('atproto-proxy')).toBe(false)
  })
  test.each<[string, unknown]>([
    ['prompt', 'login'],
    ['loginHint', BOB.did],
    ['scope', 'atproto transition:generic'],
  ])('%s: is no option of a sign-in', async (name, given) => {
    const network = createFakeNetwork()
    const client = createTestClient(network, { scope: 'atproto' })
    await client.prefetch('')
    await polluted(name, value(given), () => client.authorize(ALICE.handle))
    const form = network.requests(at.par)[0]?.form ?? {}
    expect(form).toMatchObject({ scope: 'atproto', login_hint: ALICE.handle })
    expect(Object.hasOwn(form, 'prompt')).toBe(false)
  })
  test('signal: keeps no token from being revoked', async () => {
    const { network, client } = await signedIn()
    await polluted('signal', value(AbortSignal.abort()), () => client.signOut())
    expect(network.sessionAlive(ALICE.did)).toBe(false)
  })
  test.each<[string, PropertyDescriptor]>([
    ['code', { set() {}, get: () => undefined }],
    ['oauthError', { value: 'x' }],
  ])('%s: takes nothing from an error', async (name, descriptor) => {
    const { network, session } = await warm()
    network.on(at.refresh, faults.oauthError('invalid_grant'))
    await polluted(name, descriptor, () => session.refresh().catch(() => {}))
    expect(session.status).toBe('revoked')
  })
  test('ath: is in no proof of a token request', async () => {
    const { network, session } = await signedIn()
    await polluted('ath', value('EVIL'), () => session.refresh().catch(() => {}))
    expect(Object.hasOwn(network.requests(at.refresh)[0]?.proof?.payload ?? {}, 'ath')).toBe(false)
  })
})

test.each<[string, (now: number) => unknown]>([
  ['without times', () => ({ outcome: 'pending', count: 1, at: 'x', retryAt: 'x' })],
  ['whose time never comes', (now) => ({ outcome: 'pending', count: 1, at: now, retryAt: Infinity })],
  ['of a page that is gone', (now) => ({ outcome: 'pending', count: 9, at: now, retryAt: now + 300_000 })],
])('a refresh marker %s does not keep call and lock for more than 45 s (R12, K01)', async (_name, marker) => {
  const { network, namespace, session } = await signedInBrowser()
  network.clock.advance(2 * HOUR)
  await editRow(namespace, ALICE.did, (row) => {
    row.record.refreshAttempt = marker(network.clock.now())
    return row
  })
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  let outcome: unknown
  void session.fetch(PING).then(
    ({ status }) => (outcome = status),
    ({ code }) => (outcome = code),
  )
  await pass(46_000, () => outcome !== undefined, network.clock.advance.bind(network.clock))
  expect(outcome).toBeDefined()
  const { held = [] } = await navigator.locks.query()
  expect(held.filter(({ name }) => name?.includes(namespace))).toEqual([])
})

test.each([{ ok: true }, { signet: 1 }])(
  'a service worker that answers every message with %j is no guard',
  async (answer) => {
    const { network, session } = await signedInBrowser()
    const active = { postMessage: (_: unknown, [port]: MessagePort[]) => port?.postMessage(answer) }
    const serviceWorker = { getRegistration: async () => ({ active }) }
    vi.stubGlobal('navigator', { onLine: true, locks: navigator.locks, serviceWorker })
    network.clock.advance(2 * HOUR)
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    let outcome: unknown
    void session.fetch(PING).then(
      ({ status }) => (outcome = status),
      ({ code }) => (outcome = code),
    )
    await pass(62_000, () => outcome !== undefined)
    expect(outcome).toBe(200)
    expect(refreshes(network)).toBe(1)
  },
)

test.each([
  ['is gone (410)', faults.status(410, {})],
  ['is unknown (404)', faults.status(404, {})],
  ['has no PDS any more', faults.changeJson((document) => ({ ...document, service: [] }))],
])(
  'an account that %s when the person comes back is not signed in (R7, C18, C19)',
  async (_name, handler) => {
    const network = createFakeNetwork()
    const client = createTestClient(network)
    const callback = network.approve((await client.authorize(ALICE.handle)).url)
    network.on(at.plc, handler)
    await failureOf(network, client.handleCallback(callback))
    expect(network.sessionAlive(ALICE.did)).toBe(false)
  },
)

describe('what is stored', () => {
  test.each<[string, (row: Row) => void]>([
    ['without public key', (row) => delete row.record.dpopKey.publicJwk],
    ['with a bigint as createdAt', (row) => (row.record.createdAt = 1n)],
    ['with a bigint as handle', (row) => (row.record.handle = 1n)],
    ['with a bigint as expiresAt', (row) => (row.record.tokens.expiresAt = 1n)],
    ['with an end nobody knows', (row) => (row.record.ended = 'x')],
    ['of another client', (row) => (row.record.clientId = 'https://evil.attacker.dev/m.json')],
    ['with a circle as handle', (row) => (row.record.handle = row)],
  ])('a session %s is set aside (K01)', async (_name, change) => {
    const { network, client, namespace, openClient } = await signedInBrowser()
    network.clock.advance(SECOND)
    await signInTo(network, client, BOB.handle)
    client.close()
    await editRow(namespace, ALICE.did, (row) => {
      change(row)
      return row
    })
    const next = openClient()
    const { diagnostics } = record(next)
    expect((await next.initialize())?.did).toBe(BOB.did)
    expect(diagnostics).toEqual([{ code: 'session_unreadable', did: ALICE.did }])
  })
  // biome-ignore lint/suspicious/noExplicitAny: a test reaches into whatever was stored
  test.each<[string, (pending: any) => void]>([
    ['without PAR endpoint', (pending) => delete pending.server.pushedAuthorizationRequestEndpoint],
    ['without redirect URI', (pending) => delete pending.redirectUri],
    ['with text as key', (pending) => (pending.dpopKey = 'x')],
    ['that never expires', (pending) => (pending.createdAt = Number.NaN)],
  ])('a sign-in %s is none (K01)', async (_name, change) => {
    const { network, namespace, openClient } = createBrowser(createFakeNetwork())
    const client = openClient()
    const { url, state } = await client.authorize(ALICE.handle)
    const callback = network.approve(url)
    const [[, pending]] = (await readAll(namespace, 'authorizations')) as [[string, unknown]]
    change(pending)
    await write(namespace, 'authorizations', state, pending)
    expect((await failureOf(network, client.handleCallback(callback))).code).toBe('authorization_unknown')
  })
})

describe('a server that says a secret back (R10, INV6)', () => {
  test.each<[string, (token: string) => [error: string, description?: string]]>([
    ['as its error code', (token) => [token]],
    ['with an invisible character in it', (token) => ['x', `${token.slice(0, 9)}\u200b${token.slice(9)}`]],
    ['wrapped', (token) => ['x', `${token.slice(0, 20)}\r\n${token.slice(20)}`]],
  ])('%s gets it into no error', async (_name, say) => {
    const { network, session } = await signedIn()
    network.on(at.refresh, (request, next) => {
      const [error, description] = say(request.form.refresh_token ?? '')
      return faults.oauthError(error, description === undefined ? {} : { description })(request, next)
    })
    await failureOf(network, session.refresh())
  })
})

describe('a forged message to a page that waits for its popup (L08, R18)', () => {
  test.each<[string, (state: string) => object]>([
    ['names another account', (state) => ({ type: 'authorized', state, did: BOB.did })],
    ['has no facts', (state) => ({ type: 'refused', state, code: 'popup_closed', facts: null })],
  ])('that %s is not the answer', async (_name, message) => {
    const { network, namespace, openClient } = createBrowser(createFakeNetwork())
    const client = openClient()
    await signInTo(network, client, BOB.handle)
    const { promise: shown, resolve: show } = Promise.withResolvers<string>()
    const popup = { closed: false, close() {}, opener: null, location: { replace: show } }
    vi.stubGlobal('window', { open: () => popup })
    const signingIn = client.signInWithPopup(ALICE.handle).then(
      ({ did }) => did,
      (error) => error,
    )
    await shown
    const [[state]] = (await readAll(namespace, 'authorizations')) as [[string, unknown]]
    const channel = new BroadcastChannel(`signet:${namespace}`)
    channel.postMessage({ version: 1, ...message(state) })
    const outcome = await Promise.race([signingIn, new Promise((done) => setTimeout(done, 400, 'waits'))])
    channel.close()
    expect(outcome).not.toBe(BOB.did)
    expect(outcome).not.toBeInstanceOf(TypeError)
  })
})

test('a refresh marker whose time is years away holds nobody up for longer than a back-off (R12)', async () => {
  const { network, namespace, session } = await signedInBrowser()
  network.clock.advance(2 * HOUR)
  const at = network.clock.now()
  await editRow(namespace, ALICE.did, (row) => {
    row.record.refreshAttempt = { id: 'x', outcome: 'kept', count: 1, at, retryAt: at + 1e12 }
  })
  network.clock.advance(301 * SECOND)
  expect((await session.fetch(PING)).status).toBe(200)
})

test('a stored nonce without a time is none (K01)', async () => {
  const { client, namespace, openTab } = await signedInBrowser()
  client.close()
  await write(namespace, 'nonces', ALICE.did, { value: 'abc', at: 1n })
  const { session } = await openTab()
  expect((await session.fetch(PING)).status).toBe(200)
})

test('a proof that a server says back gets into no error (R10)', async () => {
  const { network, session } = await signedIn()
  let proof = ''
  network.on(at.refresh, (request, next) => {
    proof = request.headers.get('dpop') ?? ''
    return faults.oauthError('invalid_request', { description: `${proof} is wrong` })(request, next)
  })
  const error = await failureOf(network, session.refresh())
  expect(proof).not.toBe('')
  expect(error.oauthErrorDescription).toBe('… is wrong')
})

test('a service worker that accepts and then says nothing at all is an error of its own kind (L08)', async () => {
  const { network, session } = await signedInBrowser()
  const postMessage = (_: unknown, [port]: MessagePort[]) => {
    port?.postMessage('accepted')
    port?.postMessage(null)
  }
  const serviceWorker = { getRegistration: async () => ({ active: { postMessage } }) }
  vi.stubGlobal('navigator', { onLine: true, locks: navigator.locks, serviceWorker })
  expect((await failureOf(network, session.refresh())).code).toBe('timed_out')
})
