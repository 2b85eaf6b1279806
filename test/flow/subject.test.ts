import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { OAuthClient } from '../../src/index.ts'
import { createTestClient, signInTo } from '../support/client.ts'
import {
  ALICE,
  AS,
  AS2,
  at,
  BOB,
  CAROL,
  createFakeNetwork,
  DORA,
  EVIL,
  type FakeNetwork,
  faults,
  PDS,
  PDS2,
} from '../support/network.ts'
import { expectNobodySignedIn, failureOf } from './failure.ts'

let network: FakeNetwork
let client: OAuthClient
beforeEach(() => {
  network = createFakeNetwork()
  client = createTestClient(network)
})
afterEach(() => {
  vi.useRealTimers()
  network.assertClean()
})

const claiming = (sub: unknown) =>
  network.on(
    at.exchange,
    faults.changeJson((body) => ({ ...body, sub })),
  )

/** A grant that must be thrown away: revoked where it came from, and nowhere else. */
async function discarded(identifier: string, person = {}) {
  const events: unknown[] = []
  client.on('session', (event) => events.push(event))
  const error = await failureOf(network, signInTo(network, client, identifier, { person }))
  expectNobodySignedIn(network, client)
  expect(events).toEqual([])
  const [granted] = network.sessions()
  expect(granted?.endedBy).toBe('revocation')
  const [revocation, ...others] = network.requests({ path: '/oauth/revoke' })
  expect(revocation).toMatchObject({
    url: `${granted?.issuer}/oauth/revoke`,
    form: { token: granted?.refreshToken, client_id: granted?.clientId },
    proof: { jkt: granted?.jkt },
  })
  expect(others).toHaveLength(0)
  return error
}

describe('a subject that is no supported DID', () => {
  test.each([
    ['a handle', ALICE.handle],
    ['a URL', PDS],
    ['a number', 7],
    ['an object', { did: ALICE.did }],
    ['missing', undefined],
    ['empty', ''],
    ['did:key', 'did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK'],
    ['a short did:plc', 'did:plc:alice'],
    ['a did:plc in another case', ALICE.did.toUpperCase()],
    ['a DID with a space', `${ALICE.did} `],
    ['a did:web with a path', 'did:web:dora.handles.dev:user'],
  ])('is refused, asked of nobody and revoked: %s (TOK-08, TOK-11, H04)', async (_name, sub) => {
    claiming(sub)
    const error = await discarded(PDS)
    expect(error).toMatchObject({ code: 'token_response_invalid' })
    const identityRequests = network.log.filter(({ role }) =>
      ['plc', 'web', 'xrpc', 'handle', 'doh'].includes(role),
    )
    expect(identityRequests).toEqual([])
  })
})

describe('a sign-in begun with an account', () => {
  test.each([
    ['handle', ALICE.handle],
    ['DID', ALICE.did],
  ])(
    'by its %s refuses another one of the same server, and revokes (TOK-09, TOK-11, H02)',
    async (_name, identifier) => {
      const error = await discarded(identifier, { as: BOB.did })
      expect(error).toMatchObject({ code: 'subject_mismatch', expected: ALICE.did, received: BOB.did })
    },
  )

  test.each([
    ['of another server', CAROL.did],
    ['whose DID is a host', DORA.did],
  ])('refuses an account %s (TOK-09, H02)', async (_name, sub) => {
    claiming(sub)
    expect(await discarded(ALICE.handle)).toMatchObject({ code: 'subject_mismatch', received: sub })
  })

  test('looks at the DID document once more, beside the exchange (TOK-09)', async () => {
    const { url } = await client.authorize(ALICE.handle)
    const callback = network.approve(url)
    const gate = faults.hold()
    network.on(at.plc, gate.handler, { times: 1 })
    network.expect(at.exchange)
    const finishing = client.handleCallback(callback)
    await network.settled(at.exchange)
    gate.release()
    expect((await finishing).did).toBe(ALICE.did)
  })

  test('refuses when the account has moved to another issuer meanwhile (TOK-09, TOK-10, H03)', async () => {
    const { url } = await client.authorize(ALICE.handle)
    const callback = network.approve(url)
    network.moveAccount(ALICE.did, PDS2)
    const error = await failureOf(network, client.handleCallback(callback))
    expect(error).toMatchObject({ code: 'issuer_mismatch', expected: AS, received: AS2, did: ALICE.did })
    expectNobodySignedIn(network, client)
    expect(network.sessions(ALICE.did)[0]?.endedBy).toBe('revocation')
  })

  test.each([
    ['is down', faults.unreachable()],
    ['has an error', faults.status(500)],
  ])('does not need the directory a second time, when it %s (TOK-09)', async (_name, handler) => {
    const { url } = await client.authorize(ALICE.handle)
    network.on(at.plc, handler)
    expect(await client.handleCallback(network.approve(url))).toMatchObject({ did: ALICE.did, pds: PDS })
  })
})

describe('a sign-in begun with a server', () => {
  test.each([PDS, AS])(
    'takes whoever signs in there, once the DID leads back to the issuer: %s (TOK-10)',
    async (server) => {
      const session = await signInTo(network, client, server, { person: { as: BOB.did } })
      expect(session).toMatchObject({ did: BOB.did, pds: PDS, issuer: AS })
      expect(network.count(at.plc)).toBeGreaterThan(0)
    },
  )

  test('refuses an account that belongs to another issuer (TOK-10, TOK-11, H03)', async () => {
    claiming(CAROL.did)
    const error = await discarded(PDS)
    expect(error).toMatchObject({ code: 'issuer_mismatch', expected: AS, received: AS2, did: CAROL.did })
  })

  test('refuses the victim that a malicious server names (TOK-10, TOK-11, H03)', async () => {
    const { url } = await client.authorize(EVIL)
    const callback = network.approve(url, { as: ALICE.did })
    const error = await failureOf(network, client.handleCallback(callback))
    expect(error).toMatchObject({ code: 'issuer_mismatch', expected: EVIL, received: AS, did: ALICE.did })
    expectNobodySignedIn(network, client)
    expect(network.count({ role: 'evil', path: '/oauth/revoke' })).toBeGreaterThan(0)
    expect(network.count(at.revoke) + network.count(at.resource)).toBe(0)
  })

  test('makes no request with the tokens before the account is known to belong there (TOK-10)', async () => {
    const { url } = await client.authorize(PDS)
    const gate = faults.hold()
    network.on(at.plc, gate.handler, { times: 1 })
    const finishing = client.handleCallback(network.approve(url))
    await gate.reached
    expect(client.accounts).toEqual([])
    expect(client.session).toBeUndefined()
    expect(network.count(at.resource)).toBe(0)
    gate.release()
    expect((await finishing).did).toBe(ALICE.did)
  })

  test('does not believe an earlier answer about the account (TOK-10)', async () => {
    await client.prefetch(ALICE.did)
    const { url } = await client.authorize(PDS)
    const callback = network.approve(url, { as: ALICE.did })
    network.moveAccount(ALICE.did, PDS2)
    const error = await failureOf(network, client.handleCallback(callback))
    expect(error).toMatchObject({ code: 'issuer_mismatch' })
    expectNobodySignedIn(network, client)
  })

  test('refuses a did:web whose document is about another DID (TOK-10, TOK-11, H05)', async () => {
    claiming('did:web:evil.attacker.dev')
    network.on(
      { role: 'evil', path: '/.well-known/did.json' },
      faults.answer({
        id: DORA.did,
        alsoKnownAs: [`at://${DORA.handle}`],
        service: [{ id: '#atproto_pds', type: 'AtprotoPersonalDataServer', serviceEndpoint: PDS }],
      }),
      { times: 1 },
    )
    expect(await discarded(PDS)).toMatchObject({
      code: 'did_document_invalid',
      did: 'did:web:evil.attacker.dev',
    })
  })

  test('refuses a DID that nobody knows (TOK-10, TOK-11)', async () => {
    claiming('did:plc:zzzzzzzzzzzzzzzzzzzzzzzz')
    expect(await discarded(PDS)).toMatchObject({ code: 'did_not_found' })
  })

  test.each([
    ['is down', faults.unreachable(), { code: 'network_failed', retryable: false }],
    ['has an error', faults.status(502), { retryable: false }],
  ])('refuses when the directory %s, and revokes (TOK-11, H15)', async (_name, handler, expected) => {
    network.on(at.plc, handler)
    expect(await discarded(PDS)).toMatchObject(expected)
  })

  test('refuses when the directory does not answer in time, and revokes (TOK-11, H15)', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const gate = faults.hold()
    network.on(at.plc, gate.handler)
    const failing = discarded(PDS)
    await gate.reached
    await vi.advanceTimersByTimeAsync(5_000)
    expect(await failing).toMatchObject({ code: 'timed_out', retryable: false })
    gate.release()
  })

  test.each([
    ['names another issuer', faults.changeJson((body) => ({ ...body, authorization_servers: [AS2] }))],
    ['is down', faults.unreachable()],
    ['is gone', faults.status(404)],
  ])('refuses when the PDS of the account %s (TOK-10, H03)', async (_name, handler) => {
    network.addAccount({ did: 'did:plc:erinerinerinerinerinerin', handle: 'erin.handles.dev', pds: PDS2 })
    claiming('did:plc:erinerinerinerinerinerin')
    network.on({ role: 'pds2', path: '/.well-known/oauth-protected-resource' }, handler, { times: 1 })
    await discarded(PDS)
  })
})

describe('a grant that is thrown away', () => {
  test('is revoked by its access token where there is no refresh token (TOK-11)', async () => {
    network.on(
      at.exchange,
      faults.changeJson(({ refresh_token: _, ...body }) => ({ ...body, scope: 'transition:generic' })),
    )
    const error = await failureOf(network, signInTo(network, client, ALICE.handle))
    expect(error).toMatchObject({ code: 'scope_missing' })
    const [granted] = network.sessions(ALICE.did)
    expect(granted?.endedBy).toBe('revocation')
    expect(network.requests(at.revoke)[0]?.form).toMatchObject({
      token: granted?.accessToken,
      token_type_hint: 'access_token',
    })
  })

  test.each([
    ['fails', faults.status(500)],
    ['is lost', faults.unreachable()],
    ['leads elsewhere', faults.redirectTo(`${EVIL}/oauth/revoke`, 307)],
  ])('is reported for what it was, though revoking it %s (TOK-11)', async (_name, handler) => {
    network.on(at.revoke, handler)
    const error = await failureOf(
      network,
      signInTo(network, client, ALICE.handle, { person: { as: BOB.did } }),
    )
    expect(error).toMatchObject({ code: 'subject_mismatch' })
    expect(client.accounts).toEqual([])
    expect(network.count(at.evil)).toBe(0)
  })
})
