import { beforeEach, describe, expect, test } from 'vitest'
import type { OAuthClientMetadata } from '../../src/index.ts'
import { createTestClient, signInTo } from '../support/client.ts'
import {
  ALICE,
  APP,
  at,
  CLIENT_ID,
  CLIENT_METADATA,
  createFakeNetwork,
  EVIL,
  type FakeNetwork,
  faults,
  type RequestMatch,
} from '../support/network.ts'

const document: RequestMatch = { role: 'app', path: '/oauth-client-metadata.json' }

let network: FakeNetwork
beforeEach(() => {
  network = createFakeNetwork()
})

/** Metadata of the test app without one member. */
function without(member: string): OAuthClientMetadata {
  const { [member]: _, ...rest } = CLIENT_METADATA as OAuthClientMetadata
  return rest as OAuthClientMetadata
}

describe('a client that is named by the URL of its metadata', () => {
  test('reads the document once, from that URL, and signs in (CMETA-01, CMETA-05, CMETA-06)', async () => {
    const client = createTestClient(network, { clientMetadata: CLIENT_ID })
    await signInTo(network, client, ALICE.handle)
    await signInTo(network, client, ALICE.handle)
    const requests = network.requests(document)
    expect(requests.map(({ url }) => url)).toEqual([CLIENT_ID])
    expect(requests[0]?.headers.get('accept')).toContain('application/json')
    expect(network.requests(at.par)[0]?.form).toMatchObject({
      client_id: CLIENT_ID,
      redirect_uri: `${APP}/callback`,
    })
    network.assertClean()
  })

  test('takes a document whose media type has parameters (CMETA-05)', async () => {
    network.on(document, faults.changeHeaders({ 'content-type': 'application/json; charset=utf-8' }))
    const client = createTestClient(network, { clientMetadata: CLIENT_ID })
    expect((await signInTo(network, client, ALICE.handle)).did).toBe(ALICE.did)
    network.assertClean()
  })

  test.each([
    ['has status 201', faults.changeStatus(201), 'client_metadata_invalid'],
    ['has status 206', faults.changeStatus(206), 'client_metadata_invalid'],
    ['has status 404', faults.changeStatus(404), 'client_metadata_invalid'],
    ['has status 503', faults.changeStatus(503), 'client_metadata_invalid'],
    ['is text/plain', faults.changeHeaders({ 'content-type': 'text/plain' }), 'client_metadata_invalid'],
    ['is text/json', faults.changeHeaders({ 'content-type': 'text/json' }), 'client_metadata_invalid'],
    ['has no type', faults.changeHeaders({ 'content-type': null }), 'client_metadata_invalid'],
    ["is the app's start page", faults.html(), 'client_metadata_invalid'],
    ['is cut off', faults.text('{"client_id":', 'application/json'), 'client_metadata_invalid'],
    ['is an array', faults.answer([CLIENT_METADATA]), 'client_metadata_invalid'],
    ['is null', faults.answer(null), 'client_metadata_invalid'],
    ['is a string', faults.answer(JSON.stringify(CLIENT_METADATA)), 'client_metadata_invalid'],
    ['is a redirect', faults.redirectTo(`${EVIL}/oauth-client-metadata.json`), 'response_invalid'],
    ['is a permanent redirect', faults.redirectTo(`${EVIL}/m.json`, 308), 'response_invalid'],
    ['never ends', faults.endlessBody(), 'response_invalid'],
    ['does not arrive', faults.unreachable(), 'network_failed'],
  ])('refuses a document that %s, before anything is pushed (CMETA-05)', async (_what, fault, code) => {
    network.on(document, fault, { times: 1 })
    const client = createTestClient(network, { clientMetadata: CLIENT_ID })
    await expect(client.authorize(ALICE.handle)).rejects.toMatchObject({ code, url: CLIENT_ID })
    expect(network.count(at.par)).toBe(0)
    expect(network.count(at.evil)).toBe(0)
    network.assertClean()
  })

  test.each([
    `${CLIENT_ID}/`,
    `${CLIENT_ID}?`,
    'https://APP.signet.dev/oauth-client-metadata.json',
    'https://other.dev/oauth-client-metadata.json',
  ])('refuses a document that calls itself %s (CMETA-06)', async (clientId) => {
    network.on(
      document,
      faults.changeJson((metadata) => ({ ...metadata, client_id: clientId, client_uri: undefined })),
    )
    const client = createTestClient(network, { clientMetadata: CLIENT_ID })
    await expect(client.authorize(ALICE.handle)).rejects.toMatchObject({
      code: 'client_metadata_invalid',
      issues: expect.arrayContaining([expect.stringContaining('client_id')]),
    })
    expect(network.count(at.par)).toBe(0)
  })

  test.each([
    ['grant_types', { grant_types: ['refresh_token'] }, 'CMETA-07'],
    ['response_types', { response_types: [] }, 'CMETA-08'],
    ['redirect_uris', { redirect_uris: [] }, 'CMETA-08'],
    ['dpop_bound_access_tokens', { dpop_bound_access_tokens: false }, 'CMETA-08'],
    ['scope', { scope: 'transition:generic' }, 'CMETA-09'],
    ['token_endpoint_auth_method', { token_endpoint_auth_method: 'client_secret_basic' }, 'CMETA-10'],
    ['token_endpoint_auth_method', { token_endpoint_auth_method: undefined }, 'CMETA-10'],
    ['client_secret', { client_secret: 'secret' }, 'CMETA-12'],
    ['redirect_uris', { redirect_uris: ['http://app.signet.dev/callback'] }, 'CMETA-13'],
    ['redirect_uris', { redirect_uris: ['http://127.0.0.1/callback'] }, 'CMETA-15'],
    ['client_uri', { client_uri: 'https://other.dev' }, 'CMETA-16'],
  ])('refuses a document with a wrong %s %o (%s)', async (member, changes, _row) => {
    network.on(
      document,
      faults.changeJson((metadata) => ({ ...metadata, ...changes })),
    )
    const client = createTestClient(network, { clientMetadata: CLIENT_ID })
    await expect(client.authorize(ALICE.handle)).rejects.toMatchObject({
      code: 'client_metadata_invalid',
      url: CLIENT_ID,
      issues: [expect.stringContaining(member)],
    })
    expect(network.count(at.par)).toBe(0)
  })

  test('asks again after a failure (CMETA-05)', async () => {
    network.on(document, faults.status(503), { times: 1 })
    const client = createTestClient(network, { clientMetadata: CLIENT_ID })
    await expect(client.authorize(ALICE.handle)).rejects.toMatchObject({ code: 'client_metadata_invalid' })
    expect((await signInTo(network, client, ALICE.handle)).did).toBe(ALICE.did)
    network.assertClean()
  })
})

describe('scopes of one sign-in', () => {
  test.each([
    ['repo?collection=dev.signet.note', 'repo:dev.signet.note is what the document has'],
    ['account:email?action=read', 'a default is spelled out'],
    ['transition:Generic', 'the case is another'],
    ['identity:handle', 'nothing like it is declared'],
  ])('are refused unless declared in those letters: %s, where %s (CMETA-09)', async (value) => {
    const client = createTestClient(network)
    await expect(client.authorize(ALICE.handle, { scope: `atproto ${value}` })).rejects.toMatchObject({
      code: 'client_metadata_invalid',
      issues: [expect.stringContaining(value)],
    })
    expect(network.count(at.par)).toBe(0)
  })

  test.each([
    ['without atproto', 'transition:generic'],
    ['with a value twice', 'atproto transition:generic transition:generic'],
    ['with two spaces', 'atproto  transition:generic'],
    ['without anything', ''],
  ])('%s are a mistake in the app (CMETA-09)', async (_what, scope) => {
    const client = createTestClient(network)
    await expect(client.authorize(ALICE.handle, { scope })).rejects.toBeInstanceOf(TypeError)
    expect(network.log).toEqual([])
  })

  test('may be any part of what the document declares (CMETA-09)', async () => {
    const scope = 'atproto repo:dev.signet.note'
    const session = await signInTo(network, createTestClient(network), ALICE.handle, { scope })
    expect(network.requests(at.par)[0]?.form.scope).toBe(scope)
    expect(session.scope).toBe(scope)
    network.assertClean()
  })
})

describe('a public client', () => {
  test('authenticates with nothing, at any endpoint, at any time (CMETA-10, CMETA-12)', async () => {
    const client = createTestClient(network)
    const session = await signInTo(network, client, ALICE.handle)
    await session.refresh()
    await session.signOut()
    const requests = network.requests({ role: 'as', method: 'POST' })
    expect(requests.map(({ path }) => path)).toEqual([
      '/oauth/par',
      '/oauth/token',
      '/oauth/token',
      '/oauth/revoke',
    ])
    for (const { form, headers } of requests) {
      expect(form.client_id).toBe(CLIENT_ID)
      expect(Object.keys(form).filter((name) => /^client_(?!id$)|secret|assertion/.test(name))).toEqual([])
      expect(headers.has('authorization')).toBe(false)
    }
    network.assertClean()
  })

  test('is sent back to another origin than that of its document, if the document says so (CMETA-14)', async () => {
    const clientId = 'https://metadata.signet.dev/oauth-client-metadata.json'
    const clientMetadata = { ...without('client_uri'), client_id: clientId }
    const client = createTestClient(network, { clientMetadata })
    const { url } = await client.authorize(ALICE.handle)
    const callback = network.approve(url)
    expect(new URL(callback).origin).toBe(APP)
    expect(await client.handleCallback(callback)).toMatchObject({ did: ALICE.did })
    expect(network.requests(at.token)[0]?.form).toMatchObject({
      client_id: clientId,
      redirect_uri: `${APP}/callback`,
    })
    network.assertClean()
  })

  test('whose document lacks refresh_token has a session that ends with its access token, and says so (CMETA-07)', async () => {
    const clientMetadata = { ...CLIENT_METADATA, grant_types: ['authorization_code'] }
    const client = createTestClient(network, { clientMetadata })
    const session = await signInTo(network, client, ALICE.handle)
    expect(network.sessions(ALICE.did)[0]?.refreshToken).toBeUndefined()
    const { account } = session
    expect(account.status).toBe('active')
    expect(account.expiresAt).toBeGreaterThan(network.clock.now())
    expect((await session.fetch('/xrpc/dev.signet.getThing')).status).toBe(200)

    network.clock.set(account.expiresAt ?? 0)
    expect(session.status).toBe('expired')
    await expect(session.fetch('/xrpc/dev.signet.getThing')).rejects.toMatchObject({
      code: 'session_ended',
      reason: 'expired',
    })
    await expect(session.refresh()).rejects.toMatchObject({ code: 'session_ended', reason: 'expired' })
    expect(network.count(at.refresh)).toBe(0)
    network.assertClean()
  })
  test('without refresh_token is told that the session ends with its first token, not in two weeks (CMETA-07)', async () => {
    const clientMetadata = { ...CLIENT_METADATA, grant_types: ['authorization_code'] }
    const { account } = await signInTo(network, createTestClient(network, { clientMetadata }), ALICE.handle)
    expect(account.endsAt).toBe(account.expiresAt)
  })
})

test('a redirect URI with a password is refused, with or without a user (CMETA-13)', () => {
  const redirect_uris = ['https://:secret@app.signet.dev/callback']
  const clientMetadata = { ...CLIENT_METADATA, redirect_uris }
  expect(() => createTestClient(createFakeNetwork(), { clientMetadata })).toThrow('without credentials')
})
