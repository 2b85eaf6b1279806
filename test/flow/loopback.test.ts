import { beforeEach, describe, expect, test, vi } from 'vitest'
import type { OAuthClient, OAuthClientMetadata, OAuthClientOptions } from '../../src/index.ts'
import { createTestClient, signInTo } from '../support/client.ts'
import {
  ALICE,
  at,
  createFakeNetwork,
  type FakeNetwork,
  type FakeRequest,
  faults,
  PDS,
} from '../support/network.ts'
import { openPage } from './page.ts'

let network: FakeNetwork
beforeEach(() => {
  network = createFakeNetwork()
})
/** A client without published metadata, on the page with this URL if there is one. */
function createLoopbackClient(options: OAuthClientOptions = {}, page?: string): OAuthClient {
  if (page !== undefined) openPage(page)
  const unset = undefined as never
  return createTestClient(network, { clientMetadata: unset, scope: unset, ...options })
}

/** What the client pushed, and its client_id taken apart. */
async function pushed(
  client: OAuthClient,
): Promise<{ form: FakeRequest['form']; clientId: URL; keys: string[] }> {
  await client.authorize(ALICE.handle)
  const form = network.requests(at.par).at(-1)?.form ?? {}
  const clientId = new URL(form.client_id ?? '')
  return { form, clientId, keys: [...clientId.searchParams.keys()] }
}

describe('a client without metadata', () => {
  test('is http://localhost with nothing but a query (LOOP-01, LOOP-04)', async () => {
    const { form, clientId, keys } = await pushed(createLoopbackClient({}, 'http://127.0.0.1:5173/'))
    expect(form.client_id).toMatch(/^http:\/\/localhost\?[^#]*$/)
    expect(clientId.port).toBe('')
    expect(keys).toEqual(['redirect_uri'])
    network.assertClean()
  })

  test.each([
    'http://127.0.0.1:5173/',
    'http://127.0.0.1:5173/app/index.html',
    'http://127.0.0.1:5173/a/b/',
    'http://127.0.0.1/app',
    'http://[::1]:5173/app',
    'http://127.0.0.1:5173/app?tab=1#part',
  ])(
    'on the page %s has the path in its redirect URI only, and the port in none (LOOP-03, LOOP-07)',
    async (page) => {
      const { form, clientId } = await pushed(createLoopbackClient({}, page))
      const { hostname, origin, pathname } = new URL(page)
      expect(form.client_id).toMatch(/^http:\/\/localhost\?/)
      expect(clientId.searchParams.get('redirect_uri')).toBe(`http://${hostname}${pathname}`)
      // The request names the port that the page is really on.
      expect(form.redirect_uri).toBe(`${origin}${pathname}`)
      network.assertClean()
    },
  )

  test('comes back to the port it left from, whatever the port (LOOP-03)', async () => {
    for (const port of [5173, 9999]) {
      const client = createLoopbackClient({ redirectUri: `http://127.0.0.1:${port}/cb` })
      const { url } = await client.authorize(ALICE.handle)
      const callback = network.approve(url)
      expect(callback).toMatch(new RegExp(`^http://127\\.0\\.0\\.1:${port}/cb[?#]`))
      expect((await client.handleCallback(callback)).did).toBe(ALICE.did)
    }
    const [first, second] = network.requests(at.par)
    expect(first?.form.client_id).toBe(second?.form.client_id)
    network.assertClean()
  })

  test('outside of a page comes back to the root of the loopback address (LOOP-02)', async () => {
    const { form, clientId } = await pushed(createLoopbackClient())
    expect(form.redirect_uri).toBe('http://127.0.0.1/')
    expect(clientId.searchParams.getAll('redirect_uri')).toEqual(['http://127.0.0.1/'])
    network.assertClean()
  })

  test.each([
    'http://localhost/',
    'http://localhost:5173/cb',
    'http://127.0.0.2:5173/cb',
    'http://127.0.0.1.nip.io/cb',
    'http://0.0.0.0:5173/cb',
    'http://[::2]/cb',
    'https://127.0.0.1/cb',
    'https://app.signet.dev/cb',
    'http://user@127.0.0.1/cb',
    'cb',
  ])('refuses the redirect URI %s (LOOP-02)', (redirectUri) => {
    expect(() => createLoopbackClient({ redirectUri })).toThrow(TypeError)
  })

  test.each(['https://app.signet.dev/', 'http://192.168.1.2:5173/', 'https://127.0.0.1.nip.io/'])(
    'is refused on the page %s, which is not on this device (LOOP-02)',
    (page) => {
      expect(() => createLoopbackClient({}, page)).toThrow(TypeError)
    },
  )

  test('declares the scopes that it asks for in its client_id (LOOP-04)', async () => {
    const scope = 'atproto transition:generic repo:dev.signet.note?action=create'
    const client = createLoopbackClient({ scope }, 'http://127.0.0.1:5173/')
    const { form, clientId } = await pushed(client)
    expect(clientId.searchParams.getAll('scope')).toEqual([scope])
    expect(form.client_id).not.toContain(' ')
    expect(form.scope).toBe(scope)
    expect((await signInTo(network, client, ALICE.handle)).scope).toBe(scope)
    network.assertClean()
  })

  test('asks for atproto, and for no more, unless told otherwise (LOOP-04)', async () => {
    const client = createLoopbackClient({}, 'http://127.0.0.1:5173/')
    const { form } = await pushed(client)
    expect(form.scope).toBe('atproto')
    const before = network.count(at.par)
    await expect(
      client.authorize(ALICE.handle, { scope: 'atproto transition:generic' }),
    ).rejects.toMatchObject({
      code: 'client_metadata_invalid',
    })
    expect(network.count(at.par)).toBe(before)
  })

  test('is public, native and DPoP-bound, and its sessions can be renewed (LOOP-05)', async () => {
    const client = createLoopbackClient({}, 'http://127.0.0.1:5173/app')
    const session = await signInTo(network, client, ALICE.handle)
    expect(network.requests(at.par)[0]?.form).toMatchObject({
      response_type: 'code',
      code_challenge_method: 'S256',
    })
    expect(network.requests(at.par)[0]?.form.dpop_jkt).toMatch(/^[\w-]{43}$/)
    await session.refresh()
    expect(network.count(at.refresh)).toBe(1)
    expect((await session.fetch('/xrpc/dev.signet.getThing')).status).toBe(200)
    for (const { form, headers } of network.requests({ role: 'as', method: 'POST' })) {
      expect(Object.keys(form).filter((name) => /secret|assertion/.test(name))).toEqual([])
      expect(headers.has('authorization')).toBe(false)
    }
    network.assertClean()
  })

  test('hears from a server that does not take such clients that this is so (LOOP-08)', async () => {
    const description = 'Loopback clients are not allowed'
    network.on(at.par, faults.oauthError('invalid_client_metadata', { description }))
    const client = createLoopbackClient({}, 'http://127.0.0.1:5173/')
    await expect(client.authorize(ALICE.handle)).rejects.toMatchObject({
      code: 'token_request_failed',
      oauthError: 'invalid_client_metadata',
      oauthErrorDescription: description,
      issuer: network.as.issuer,
      retryable: false,
    })
  })
})

describe('metadata of a loopback client that an app writes itself', () => {
  const metadata = (clientId: string, redirectUri = 'http://127.0.0.1/'): OAuthClientMetadata => ({
    client_id: clientId,
    redirect_uris: [redirectUri],
    scope: 'atproto',
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
    application_type: 'native',
    dpop_bound_access_tokens: true,
  })
  const createWith = (clientMetadata: OAuthClientMetadata) =>
    createTestClient(network, { clientMetadata, scope: 'atproto' })

  test.each([
    'http://localhost',
    'http://localhost/',
    'http://localhost?scope=atproto',
    'http://localhost/?scope=atproto',
    'http://localhost?redirect_uri=http%3A%2F%2F127.0.0.1%2F&redirect_uri=http%3A%2F%2F%5B%3A%3A1%5D%2F',
  ])('may have the client_id %s (LOOP-01)', async (clientId) => {
    expect((await signInTo(network, createWith(metadata(clientId)), ALICE.handle)).did).toBe(ALICE.did)
    network.assertClean()
  })

  test.each([
    'http://localhost:8080',
    'http://localhost:8080/?scope=atproto',
    'http://localhost/foo',
    'http://localhost/foo?scope=atproto',
    'http://127.0.0.1',
    'http://[::1]',
    'https://localhost',
    'http://localhost.dev',
    'http://user@localhost',
    'http://localhost#x',
    'http://localhost?scope=atproto#x',
    'http://localhost?foo=1',
    'http://localhost?scope=atproto&client_name=Signet',
    'http://localhost?scope=atproto&scope=atproto',
  ])('is refused with the client_id %s (LOOP-01)', (clientId) => {
    expect(() => createWith(metadata(clientId))).toThrow(TypeError)
  })

  test.each(['http://localhost/', 'http://localhost:5173/cb', 'https://evil.attacker.dev/cb'])(
    'is refused with the redirect URI %s (LOOP-02)',
    (redirectUri) => {
      const clientId = `http://localhost?${new URLSearchParams({ redirect_uri: redirectUri })}`
      expect(() => createWith(metadata(clientId, redirectUri))).toThrow(TypeError)
    },
  )

  test('is never fetched from anywhere (LOOP-01)', () => {
    expect(() => createTestClient(network, { clientMetadata: 'http://localhost' })).toThrow(TypeError)
    expect(network.log).toEqual([])
  })
})

describe('a page on localhost', () => {
  /** A page on which it shows whether anything is stored. */
  function openLocalhost() {
    const openDatabase = vi.fn()
    vi.stubGlobal('indexedDB', { open: openDatabase })
    vi.stubGlobal('window', { open: () => ({ closed: false, close() {}, location: { replace() {} } }) })
    return { page: openPage('http://localhost:5173/app/index.html?tab=1#part'), openDatabase }
  }

  test.each([
    ['initialize', (client: OAuthClient) => client.initialize()],
    ['signIn', (client: OAuthClient) => client.signIn(ALICE.handle)],
    ['signUp', (client: OAuthClient) => client.signUp(PDS)],
  ])('moves to the loopback address before %s() stores or asks anything (LOOP-06)', async (_name, call) => {
    const { page, openDatabase } = openLocalhost()
    const client = createLoopbackClient({ storage: 'auto' })
    await Promise.race([page.left, call(client)])
    expect(page.navigations).toEqual(['http://127.0.0.1:5173/app/index.html?tab=1#part'])
    expect(openDatabase).not.toHaveBeenCalled()
    expect(network.log).toEqual([])
  })

  test.each([
    ['authorize', (client: OAuthClient) => client.authorize(ALICE.handle)],
    ['signInWithPopup', (client: OAuthClient) => client.signInWithPopup(ALICE.handle)],
  ])('moves, or refuses, before %s() stores or asks anything (LOOP-06)', async (_name, call) => {
    const { page, openDatabase } = openLocalhost()
    const client = createLoopbackClient({ storage: 'auto' })
    const refused = call(client).then(
      () => {},
      () => {},
    )
    await Promise.race([page.left, refused])
    expect(openDatabase).not.toHaveBeenCalled()
    expect(network.log).toEqual([])
  })

  test('of an app with published metadata stays where it is (LOOP-06)', async () => {
    const { page } = openLocalhost()
    expect(await createTestClient(network).initialize()).toBeUndefined()
    expect(page.navigations).toEqual([])
  })
})
