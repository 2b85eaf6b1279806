import { afterEach, describe, expect, test, vi } from 'vitest'
import { createTestClient, signInTo } from '../support/client.ts'
import {
  ALICE,
  at,
  BOB,
  createFakeNetwork,
  type FakeNetwork,
  faults,
  type RequestMatch,
} from '../support/network.ts'
import { HOUR, MINUTE, PING, until } from './signed-in.ts'
import { createBrowser, readAll, readRow, rowKey, signedInBrowser, write } from './tabs.ts'

afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllGlobals()
})

const STORES = ['sessions', 'authorizations', 'nonces', 'settings'] as const

/** Everything a client says: events, snapshots, console. */
function listen(client: ReturnType<ReturnType<typeof createBrowser>['openClient']>): unknown[] {
  const said: unknown[] = []
  for (const type of ['progress', 'session', 'diagnostic'] as const)
    client.on(type, (event) => said.push(event))
  for (const level of ['log', 'info', 'warn', 'error', 'debug'] as const) {
    vi.spyOn(console, level).mockImplementation((...words) => said.push(words))
  }
  return said
}

describe('no secret is in any error, event or log', () => {
  const FAULTS: [name: string, match: RequestMatch, handler: Parameters<FakeNetwork['on']>[1]][] = [
    ['nothing', {}, (_request, next) => next()],
    ['a PAR that fails', at.par, faults.oauthError('invalid_request', { description: 'no' })],
    ['an exchange that fails', at.exchange, faults.oauthError('invalid_grant')],
    ['an exchange that is lost', at.exchange, faults.loseAnswer()],
    ['an exchange without tokens', at.exchange, faults.changeJson(({ access_token: _, ...rest }) => rest)],
    [
      'an exchange for somebody else',
      at.exchange,
      faults.changeJson((answer) => ({ ...answer, sub: BOB.did })),
    ],
    ['an exchange without atproto', at.exchange, faults.changeJson((answer) => ({ ...answer, scope: 'x' }))],
    [
      'an exchange of another type',
      at.exchange,
      faults.changeJson((answer) => ({ ...answer, token_type: 'Bearer' })),
    ],
    ['an exchange that answers 400 with tokens', at.exchange, faults.changeStatus(400)],
    [
      'an exchange that answers a web page',
      at.exchange,
      faults.changeHeaders({ 'content-type': 'text/html' }),
    ],
    [
      'a refresh that echoes its request',
      at.refresh,
      (request) => faults.oauthError('invalid_request', { description: 'no' })(request, fetch as never),
    ],
    ['a refresh that is lost', at.refresh, faults.loseAnswer()],
    ['a refresh for somebody else', at.refresh, faults.changeJson((answer) => ({ ...answer, sub: BOB.did }))],
    ['a refresh without atproto', at.refresh, faults.changeJson((answer) => ({ ...answer, scope: 'x' }))],
    [
      'a refresh of another type',
      at.refresh,
      faults.changeJson((answer) => ({ ...answer, token_type: 'x' })),
    ],
    ['a refresh that answers a web page', at.refresh, faults.changeHeaders({ 'content-type': 'text/html' })],
    ['a refresh that answers 400 with tokens', at.refresh, faults.changeStatus(400)],
    ['a refresh that answers 500 with tokens', at.refresh, faults.changeStatus(500)],
    ['a PDS that cannot be reached', at.resource, faults.unreachable()],
    ['a PDS that redirects', at.resource, faults.redirectTo('https://evil.attacker.dev/')],
    ['a revocation that fails', at.revoke, faults.html(500)],
  ]

  test.each(FAULTS)('with %s (STO-01)', async (_name, match, handler) => {
    const network = createFakeNetwork()
    const client = createBrowser(network).openClient()
    const said = listen(client)
    network.on(match, handler)
    const errors: unknown[] = []
    const attempt = async <T>(work: () => Promise<T>): Promise<T | undefined> => {
      try {
        return await work()
      } catch (error) {
        errors.push(error)
        return undefined
      }
    }
    await client.initialize()
    const session = await attempt(() => signInTo(network, client, ALICE.handle, { appState: { page: 1 } }))
    await attempt(async () => session?.fetch(`${PING}?secret=1`, { method: 'POST', body: 'private' }))
    network.clock.advance(2 * HOUR)
    await attempt(async () => session?.fetch(PING))
    await attempt(async () => session?.refresh())
    await attempt(() => client.signOut())
    expect(said.length).toBeGreaterThan(0)
    network.assertNoSecrets(errors, 'the errors')
    network.assertNoSecrets(JSON.stringify(errors), 'the errors as JSON')
    network.assertNoSecrets(said, 'what was said')
    network.assertNoSecrets(client.getSnapshot(), 'the snapshot')
    expect(JSON.stringify(errors)).not.toContain('secret=1')
  })
})

test('the handle of a session has no secret that can be reached from it (N14, N01)', async () => {
  const { network, client, session } = await signedInBrowser()
  await session.fetch(PING)
  network.assertNoSecrets(session, 'the session')
  network.assertNoSecrets(client, 'the client')
  network.assertNoSecrets(JSON.stringify({ session, snapshot: client.getSnapshot() }), 'the session as JSON')
  const reachable = new Set<unknown>()
  const visit = (value: unknown): void => {
    if (value === null || (typeof value !== 'object' && typeof value !== 'function') || reachable.has(value))
      return
    reachable.add(value)
    for (
      let holder = value;
      holder && holder !== Object.prototype && holder !== Function.prototype;
      holder = Object.getPrototypeOf(holder)
    ) {
      for (const key of Reflect.ownKeys(holder)) {
        if (['caller', 'arguments', 'callee', 'constructor', 'prototype'].includes(String(key))) continue
        visit(Reflect.get(value as object, key, value))
      }
    }
  }
  visit(session)
  visit(client)
  expect([...reachable].filter((value) => value instanceof CryptoKey)).toEqual([])
  expect(() => structuredClone(session)).toThrow()
})

test('a client leaves nothing on the global object (N14)', async () => {
  const before = Reflect.ownKeys(globalThis)
  const { network, session } = await signedInBrowser()
  await session.fetch(PING)
  const added = Reflect.ownKeys(globalThis).filter((key) => !before.includes(key))
  expect(added).toEqual([])
  network.assertClean()
})

describe('storage', () => {
  test('holds no private key that could be read, at any time of a sign-in (N01, DPOP-21)', async () => {
    const network = createFakeNetwork()
    const browser = createBrowser(network)
    const client = browser.openClient()
    const keys: CryptoKey[] = []
    const scan = (value: unknown): void => {
      if (value instanceof CryptoKey) keys.push(value)
      else if (value !== null && typeof value === 'object') {
        expect(Object.keys(value)).not.toContain('d')
        expect(value).not.toBeInstanceOf(ArrayBuffer)
        for (const member of Object.values(value)) scan(member)
      }
    }
    const dump = async () => {
      for (const store of STORES) for (const [, value] of await readAll(browser.namespace, store)) scan(value)
    }
    const { url } = await client.authorize(ALICE.handle)
    await dump()
    expect(keys.length).toBeGreaterThan(0)
    const session = await client.handleCallback(network.approve(url))
    await dump()
    await session.refresh()
    await dump()
    for (const key of keys) {
      expect(key.extractable).toBe(key.type === 'public')
      if (key.type === 'private') await expect(crypto.subtle.exportKey('jwk', key)).rejects.toThrow()
    }
  })

  test('holds the tokens in the record of their session and nowhere else, and nothing of them after sign-out (N02, STO-02)', async () => {
    const kept = { setItem: vi.fn(), getItem: vi.fn(() => null), removeItem: vi.fn() }
    const cookie = vi.fn()
    vi.stubGlobal('localStorage', kept)
    vi.stubGlobal('sessionStorage', kept)
    vi.stubGlobal('cookieStore', { set: cookie })
    const { network, namespace, client, session } = await signedInBrowser()
    await session.fetch(PING)
    await session.refresh()
    const { tokens } = (await readRow(namespace, ALICE.did))?.record ?? {}
    expect(network.sessions()[0]).toMatchObject({
      accessToken: tokens.accessToken,
      refreshToken: tokens.refreshToken,
    })
    for (const store of ['authorizations', 'nonces', 'settings'] as const) {
      network.assertNoSecrets(await readAll(namespace, store), store)
    }
    await client.signOut()
    for (const store of STORES) network.assertNoSecrets(await readAll(namespace, store), store)
    expect(kept.setItem).not.toHaveBeenCalled()
    expect(cookie).not.toHaveBeenCalled()
  })

  test('holds neither verifier nor key of a sign-in once it has ended, well or not (PKCE-04, STO-01)', async () => {
    const network = createFakeNetwork()
    const browser = createBrowser(network)
    const client = browser.openClient()
    await signInTo(network, client, ALICE.handle)
    await signInTo(network, client, BOB.handle, { person: { deny: true } }).catch(() => {})
    expect(await readAll(browser.namespace, 'authorizations')).toEqual([])
  })
})

describe('messages between tabs', () => {
  const hear = (namespace: string) => {
    const heard: unknown[] = []
    const channel = new BroadcastChannel(`signet:${namespace}`)
    channel.onmessage = ({ data }: MessageEvent) => heard.push(data)
    return { heard, channel }
  }

  test('name the account and nothing else (STO-13, N09, L05)', async () => {
    const network = createFakeNetwork()
    const browser = createBrowser(network)
    const { heard, channel } = hear(browser.namespace)
    const client = browser.openClient()
    const session = await signInTo(network, client, ALICE.handle)
    await session.refresh()
    await client.switchAccount(ALICE.did)
    await client.signOut()
    await vi.waitFor(() => expect(heard.length).toBeGreaterThanOrEqual(4))
    for (const message of heard)
      expect(message).toEqual({ version: expect.any(Number), type: 'session', did: ALICE.did })
    network.assertNoSecrets(heard, 'the messages')
    channel.close()
  })

  test.each<[string, unknown]>([
    ['a string', 'session'],
    ['null', null],
    ['another shape', { name: 'clear', args: ['everything'] }],
    ['no account', { version: 1, type: 'session' }],
    ['a number as account', { version: 1, type: 'session', did: 7 }],
    ['an unknown account', { version: 1, type: 'session', did: 'did:plc:nobodynobodynobodynobody' }],
    ['a strange account', { version: 1, type: 'session', did: '__proto__' }],
    [
      'a record',
      {
        version: 1,
        type: 'session',
        did: ALICE.did,
        record: { pds: 'https://evil.attacker.dev' },
        ended: 'revoked',
      },
    ],
    ['an unknown type', { version: 1, type: 'signOut', did: ALICE.did, state: 'x' }],
    ['a popup nobody opened', { version: 1, type: 'authorized', state: 'x', did: BOB.did }],
    ['a name of every object', { version: 1, type: 'refused', state: 'toString', code: 'popup_closed' }],
    ['another version', { version: 2, type: 'session', did: ALICE.did }],
    ['no version', { type: 'session', did: ALICE.did }],
  ])('that are forged change nothing and cause no request: %s (L08, L09)', async (_name, message) => {
    const { network, namespace, client, session } = await signedInBrowser()
    const before = network.log.length
    const snapshot = client.getSnapshot()
    const { channel } = hear(namespace)
    channel.postMessage(message)
    // The next message is heard after that one.
    await write(namespace, 'sessions', rowKey(BOB.did), 'garbage')
    channel.postMessage({ version: 1, type: 'session', did: ALICE.did })
    await client.restore(ALICE.did)
    expect(client.getSnapshot().accounts).toEqual(snapshot.accounts)
    expect(client.session).toBe(session)
    expect(network.log.length).toBe(before)
    expect((await session.fetch(PING)).status).toBe(200)
    channel.close()
    network.assertClean()
  })

  test('of another version are not acted on, those of this one are (L09)', async () => {
    const { network, namespace, client } = await signedInBrowser()
    const { channel } = hear(namespace)
    await write(namespace, 'sessions', rowKey(ALICE.did), { version: 1, signedOutAt: network.clock.now() })
    channel.postMessage({ version: 99, type: 'session', did: ALICE.did })
    channel.postMessage({ version: 1, type: 'session', did: BOB.did })
    for (let turn = 0; turn < 20; turn++) await readAll(namespace, 'settings')
    expect(client.accounts).toHaveLength(1)
    channel.postMessage({ version: 1, type: 'session', did: ALICE.did })
    await until(client, ({ accounts }) => accounts.length === 0)
    expect(client.status).toBe('signed-out')
    channel.close()
  })
})

test('every request of a life omits cookies and referrer, is not cached where it matters and follows nothing (STO-11)', async () => {
  const network = createFakeNetwork()
  const client = createBrowser(network).openClient()
  const session = await signInTo(network, client, ALICE.handle)
  await session.fetch(PING)
  network.clock.advance(MINUTE)
  await session.refresh()
  await client.signOut()
  expect(network.log.length).toBeGreaterThan(8)
  for (const { path, method, credentials, referrerPolicy, redirect, mode, cache } of network.log) {
    expect({ credentials, referrerPolicy, redirect, mode }).toEqual({
      credentials: 'omit',
      referrerPolicy: 'no-referrer',
      redirect: 'manual',
      mode: 'cors',
    })
    if (!path.startsWith('/xrpc/dev.') && method === 'GET') expect(cache).toBe('no-store')
  }
  network.assertClean()
})

describe('a server that says a secret back to the page', () => {
  test('in its refusal of a code gets it into no error (STO-01)', async () => {
    const network = createFakeNetwork()
    network.on(at.exchange, (request, next) =>
      faults.oauthError('invalid_grant', { description: `Unknown code ${request.form.code}` })(request, next),
    )
    const error = await signInTo(network, createTestClient(network), ALICE.handle).catch(
      (error: unknown) => error,
    )
    expect(error).toMatchObject({ code: 'token_request_failed', oauthErrorDescription: 'Unknown code …' })
    network.assertNoSecrets(error, 'the error')
  })

  test('in its refusal of a refresh token gets it into no error (STO-01)', async () => {
    const { network, session } = await signedInBrowser()
    network.on(at.refresh, (request, next) =>
      faults.oauthError('invalid_grant', { description: `Bad token ${request.form.refresh_token}` })(
        request,
        next,
      ),
    )
    const error = await session.refresh().catch((error: unknown) => error)
    expect(error).toMatchObject({ code: 'session_ended' })
    network.assertNoSecrets(error, 'the error')
  })
})
