import { beforeEach, describe, expect, test } from 'vitest'
import type { OAuthClient } from '../../src/index.ts'
import { createTestClient, signInTo } from '../support/client.ts'
import {
  ALICE,
  APP,
  AS,
  at,
  BOB,
  CAROL,
  createFakeNetwork,
  EVIL,
  type FakeNetwork,
  faults,
  PDS,
  PDS2,
} from '../support/network.ts'
import { expectNobodySignedIn } from './failure.ts'

let network: FakeNetwork
let client: OAuthClient
beforeEach(() => {
  network = createFakeNetwork()
  client = createTestClient(network)
})

/** Resolves with the handle that is shown for an account, as soon as one is. */
function shownHandle(): Promise<string | undefined> {
  return new Promise((resolve) => {
    client.subscribe(({ accounts: [account] }) => account?.handle && resolve(account.handle))
  })
}

describe('a sign-in that began with a DID', () => {
  test('shows the handle of the account once it is verified (HDL-14)', async () => {
    const session = await signInTo(network, client, ALICE.did)
    expect(await shownHandle()).toBe(ALICE.handle)
    expect(session.account.handle).toBe(ALICE.handle)
    network.assertClean()
  })

  test.each([
    ['is not published', faults.status(400, { error: 'HandleNotFound' })],
    ['is that of another account', faults.answer({ did: BOB.did })],
    ['cannot be looked up', faults.unreachable()],
  ])('goes on when the handle of the account %s, and shows none (HDL-14)', async (_what, fault) => {
    network.on(at.resolver, fault, { times: 1 })
    const session = await signInTo(network, client, ALICE.did)
    await network.settled(at.resolver)
    expect((await session.fetch('/xrpc/dev.signet.getThing')).status).toBe(200)
    expect(session.did).toBe(ALICE.did)
    expect(session.account.handle).toBeUndefined()
    network.assertClean()
  })

  test('goes on when the document claims no handle at all (HDL-14)', async () => {
    network.on(
      at.plc,
      faults.changeJson((document) => ({ ...document, alsoKnownAs: undefined })),
    )
    const session = await signInTo(network, client, ALICE.did)
    expect(session.account.handle).toBeUndefined()
    expect(network.count(at.resolver)).toBe(0)
    network.assertClean()
  })

  test('tells the server the DID, and needs no handle for it (DID-13)', async () => {
    await client.authorize(ALICE.did)
    expect(network.requests(at.par)[0]?.form.login_hint).toBe(ALICE.did)
    expect(network.count(at.resolver)).toBe(0)
    network.assertClean()
  })
})

describe('the DID that a sign-in began with', () => {
  test.each([ALICE.did, ALICE.handle])(
    'is the one that has to come back, asked for as %s (DID-13)',
    async (identifier) => {
      const refusal = signInTo(network, client, identifier, { person: { as: BOB.did } })
      await expect(refusal).rejects.toMatchObject({
        code: 'subject_mismatch',
        expected: ALICE.did,
        received: BOB.did,
        retryable: false,
      })
      expect(network.count(at.revoke)).toBe(1)
      expectNobodySignedIn(network, client)
      network.assertClean()
    },
  )

  test('is the key of the account, whatever the handle (DID-13)', async () => {
    const first = await signInTo(network, client, ALICE.handle)
    network.addAccount({ ...ALICE, handle: 'renamed.handles.dev' })
    network.on(
      { role: 'plc', path: `/${ALICE.did}` },
      faults.changeJson((document) => ({ ...document, alsoKnownAs: ['at://renamed.handles.dev'] })),
    )
    network.clock.advance(600_000)
    const second = await signInTo(network, client, 'renamed.handles.dev')
    expect(second).toBe(first)
    expect(client.accounts.map(({ did, handle }) => ({ did, handle }))).toEqual([
      { did: ALICE.did, handle: 'renamed.handles.dev' },
    ])
    expect(await client.restore(ALICE.did)).toBe(first)
    await expect(client.restore(ALICE.handle)).rejects.toMatchObject({ code: 'session_not_found' })
  })

  test('is looked up again while the code is redeemed; another server with another issuer is refused (C19)', async () => {
    const { url } = await client.authorize(ALICE.handle)
    const callback = network.approve(url)
    network.moveAccount(ALICE.did, EVIL)
    await expect(client.handleCallback(callback)).rejects.toMatchObject({
      code: 'issuer_mismatch',
      did: ALICE.did,
      expected: AS,
      received: EVIL,
    })
    expect(network.count(at.revoke)).toBe(1)
    expect(network.requests(at.evil).map(({ path }) => path)).toEqual(
      expect.not.arrayContaining([expect.stringMatching(/oauth\/(par|token|revoke)|xrpc/)]),
    )
    expectNobodySignedIn(network, client)
    network.assertClean()
  })

  test('may have moved to another server of the same issuer meanwhile (C19)', async () => {
    const { url } = await client.authorize(ALICE.handle)
    network.on(
      { role: 'pds2', path: /oauth-protected-resource/ },
      faults.answer({ resource: PDS2, authorization_servers: [AS] }),
    )
    network.on(
      at.issuerMetadata,
      faults.changeJson((metadata) => ({ ...metadata, protected_resources: [PDS, PDS2] })),
    )
    const callback = network.approve(url)
    network.moveAccount(ALICE.did, PDS2)
    const session = await client.handleCallback(callback)
    expect(session).toMatchObject({ did: ALICE.did, pds: PDS2, issuer: AS })
    network.assertClean()
  })
})

describe('a sign-in that began with a server', () => {
  test.each([
    ['a PDS', PDS, at.resourceMetadata],
    ['a PDS, with a slash', `${PDS}/`, at.resourceMetadata],
    ['an authorization server', AS, { role: 'as', path: '/.well-known/oauth-protected-resource' } as const],
  ])('asks %s for its metadata and lets the person choose (DID-14)', async (_what, server, first) => {
    const { url } = await client.authorize(server)
    expect(network.count(first)).toBe(1)
    expect(network.count(at.issuerMetadata)).toBeGreaterThan(0)
    expect(network.count(at.plc) + network.count(at.resolver)).toBe(0)
    const { form } = network.requests(at.par)[0] ?? {}
    expect(form).toBeDefined()
    expect(form).not.toHaveProperty('login_hint')

    const session = await client.handleCallback(network.approve(url, { as: BOB.did }))
    expect(session).toMatchObject({ did: BOB.did, pds: PDS, issuer: AS })
    expect(network.count(at.plc)).toBeGreaterThan(0)
    network.assertClean()
  })

  test('shows the handle of whoever came back once it is verified (DID-14, HDL-14)', async () => {
    await signInTo(network, client, PDS, { person: { as: BOB.did } })
    expect(await shownHandle()).toBe(BOB.handle)
  })

  test.each([
    ['an account of another issuer', CAROL.did],
    ['an account that there is not', 'did:plc:nobodynobodynobodynobody'],
  ])('refuses %s, and gives its tokens back (DID-14)', async (_what, as) => {
    const { url } = await client.authorize(PDS)
    await expect(client.handleCallback(network.approve(url, { as }))).rejects.toMatchObject({
      name: 'OAuthError',
    })
    expect(network.count(at.revoke)).toBe(1)
    expectNobodySignedIn(network, client)
    network.assertClean()
  })

  test('of an attacker does not get the account of somebody else (DID-14)', async () => {
    const { url } = await client.authorize(EVIL)
    await expect(client.handleCallback(network.approve(url, { as: ALICE.did }))).rejects.toMatchObject({
      code: 'issuer_mismatch',
      expected: EVIL,
      received: AS,
    })
    expectNobodySignedIn(network, client)
    network.assertClean()
  })

  test.each([
    ['is not there', 'https://dead.handles.dev', 'network_failed'],
    ['is no part of this network', APP, 'resource_metadata_invalid'],
  ])('that %s ends there (DID-14)', async (_what, server, code) => {
    await expect(client.authorize(server)).rejects.toMatchObject({ code })
    expect(network.count(at.par)).toBe(0)
    expectNobodySignedIn(network, client)
    network.assertClean()
  })

  test.each([
    'http://pds.signet.dev',
    `${PDS}/account`,
    `${PDS}?x=1`,
    'https://u:p@pds.signet.dev',
    'https://localhost:2583',
  ])('is refused without a request for %s (DID-14)', async (server) => {
    await expect(client.authorize(server)).rejects.toMatchObject({ code: 'identifier_invalid' })
    expect(network.log).toEqual([])
  })
})

describe('a PDS on the origin of the app', () => {
  test('is a PDS like any other: no cookie goes with a request (C11)', async () => {
    network.on(
      { role: 'app', path: /oauth-protected-resource/ },
      faults.answer({ resource: APP, authorization_servers: [AS] }),
    )
    network.on({ role: 'app', path: /^\/xrpc\// }, faults.answer({ done: true }))
    network.on(
      at.issuerMetadata,
      faults.changeJson((metadata) => ({ ...metadata, protected_resources: [APP] })),
    )
    network.moveAccount(ALICE.did, APP)
    const session = await signInTo(network, client, ALICE.handle)
    expect(session.pds).toBe(APP)
    expect(await (await session.fetch('/xrpc/dev.signet.getThing')).json()).toEqual({ done: true })
    const toApp = network.requests('app')
    expect(toApp.map(({ path }) => path)).toContain('/xrpc/dev.signet.getThing')
    expect(toApp.map(({ credentials }) => credentials)).toEqual(toApp.map(() => 'omit'))
    network.assertClean()
  })
})
