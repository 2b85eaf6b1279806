import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { OAuthClient, Session } from '../../src/index.ts'
import { createTestClient, signInTo } from '../support/client.ts'
import { ALICE, AS, at, BOB, createFakeNetwork, type FakeNetwork, faults, PDS } from '../support/network.ts'
import { useDisk } from './disk.ts'
import { expectNobodySignedIn, failureOf } from './failure.ts'

const disk = useDisk()
let network: FakeNetwork
let client: OAuthClient
beforeEach(() => {
  network = createFakeNetwork()
  client = createTestClient(network, { storage: 'auto' })
})
afterEach(() => {
  vi.restoreAllMocks()
  network.assertClean()
})

const signIn = (scope?: string): Promise<Session> =>
  signInTo(network, client, ALICE.handle, scope === undefined ? {} : { person: { scope } })

const answering = (members: Record<string, unknown>) =>
  network.on(
    at.exchange,
    faults.changeJson((body) => ({ ...body, ...members })),
  )

/** A grant that must be thrown away: revoked at the server by its refresh token, and not on this device. */
async function discarded() {
  const events: unknown[] = []
  client.on('session', (event) => events.push(event))
  const error = await failureOf(network, signIn())
  expectNobodySignedIn(network, client)
  expect(events).toEqual([])
  expect(await disk.read('sessions')).toEqual(new Map())
  expect(await disk.read('authorizations')).toEqual(new Map())
  expect(await disk.read('settings')).toEqual(new Map())
  const [granted] = network.sessions(ALICE.did)
  expect(granted?.endedBy).toBe('revocation')
  const [revocation] = network.requests(at.revoke)
  expect(revocation?.form).toMatchObject({ token: granted?.refreshToken, token_type_hint: 'refresh_token' })
  expect(revocation?.proof?.jkt).toBe(granted?.jkt)
  return error
}

describe('the access token', () => {
  test.each([
    ['missing', undefined],
    ['empty', ''],
    ['an object', { token: 'AT' }],
    ['null', null],
    ['two lines', 'AT\r\nx-evil: 1'],
    ['not ASCII', 'AT_ä'],
    ['with a space', 'AT AT'],
    ['endless', 'A'.repeat(20_000)],
  ])(
    'is refused when it is %s, and what was issued is revoked (TOK-04, TOK-11, H09)',
    async (_name, token) => {
      answering({ access_token: token })
      expect(await discarded()).toMatchObject({ code: 'token_response_invalid', issuer: AS })
    },
  )
})

describe('the token type', () => {
  test.each([
    ['Bearer', 'Bearer'],
    ['missing', undefined],
    ['empty', ''],
    ['a list', ['DPoP']],
    ['DPoP and more', 'DPoP '],
  ])(
    'is refused when it is %s, and what was issued is revoked (TOK-05, TOK-11, H06)',
    async (_name, token_type) => {
      answering({ token_type })
      expect(await discarded()).toMatchObject({ code: 'token_response_invalid' })
    },
  )

  test.each(['dpop', 'DPOP', 'DPoP'])(
    'is taken in any case of letters: %s (TOK-05, H06)',
    async (token_type) => {
      answering({ token_type })
      expect((await signIn()).did).toBe(ALICE.did)
    },
  )
})

describe('the scope', () => {
  test.each([
    ['missing', undefined],
    ['empty', ''],
    ['without atproto', 'transition:generic'],
    ['only something like atproto', 'atprotox transition:generic'],
    ['in another case', 'ATPROTO transition:generic'],
    ['separated by something else', 'atproto,transition:generic'],
    ['a list', ['atproto']],
    ['20 KB long', `atproto ${'x'.repeat(20_000)}`],
  ])(
    'is refused when it is %s, and what was issued is revoked (TOK-06, TOK-11, H07)',
    async (_name, scope) => {
      answering({ scope })
      const error = await discarded()
      expect(error).toMatchObject({ code: 'scope_missing', requested: 'atproto transition:generic' })
      expect(JSON.stringify(error).length).toBeLessThan(4096)
    },
  )

  test('a megabyte long is not read (H07)', async () => {
    answering({ scope: `atproto ${'x'.repeat(1_000_000)}` })
    expect(await failureOf(network, signIn())).toMatchObject({ code: 'response_invalid' })
    expect(client.accounts).toEqual([])
  })

  test.each([
    ['narrowed', 'atproto'],
    ['widened', 'atproto transition:generic transition:email repo:dev.signet.note?action=create'],
    ['in another order', 'transition:generic atproto'],
  ])('is what was granted, not what was asked for: %s (TOK-07)', async (_name, granted) => {
    const session = await signIn(granted)
    expect(session.scope).toBe(granted)
    expect(session.account.scope).toBe(granted)
    const later = createTestClient(network, { storage: 'auto' })
    expect((await later.initialize())?.scope).toBe(granted)
  })
})

describe('the lifetime', () => {
  test('is counted from when the tokens were asked for (TOK-12)', async () => {
    const { url } = await client.authorize(ALICE.handle)
    const gate = faults.hold({ after: true })
    network.on(at.exchange, gate.handler, { times: 1 })
    const askedAt = network.clock.now()
    const finishing = client.handleCallback(network.approve(url))
    await gate.reached
    network.clock.advance(20_000)
    gate.release()
    expect((await finishing).expiresAt).toBe(askedAt + 3_599_000)
  })

  test.each([
    ['missing', undefined],
    ['null', null],
    ['negative', -5],
    ['zero', 0],
    ['beyond a day', 86_401],
    ['beyond all bounds', 1e300],
    ['a fraction', 1.5],
    ['a word', 'soon'],
    ['a list', [3600]],
  ])('is unknown when it is %s, and the session works (TOK-12, H10)', async (_name, expires_in) => {
    answering({ expires_in })
    const session = await signIn()
    expect(session.expiresAt).toBeUndefined()
    expect(session.status).toBe('active')
    for (let count = 0; count < 3; count++) {
      expect((await session.fetch('/xrpc/dev.signet.echo')).status).toBe(200)
    }
    expect(network.count(at.refresh)).toBe(0)
    network.expireAccessToken(ALICE.did)
    network.clock.advance(60_000)
    expect((await session.fetch('/xrpc/dev.signet.echo')).status).toBe(200)
    expect(network.count(at.refresh)).toBe(1)
  })

  test('may be a number in quotation marks (TOK-12, H10)', async () => {
    answering({ expires_in: '1800' })
    expect((await signIn()).expiresAt).toBe(network.clock.now() + 1_800_000)
  })

  test('is not read out of a token that looks like a JWT (TOK-12)', async () => {
    const payload = Buffer.from(JSON.stringify({ exp: 1, scope: 'none', sub: BOB.did })).toString('base64url')
    answering({ access_token: `eyJhbGciOiJFUzI1NiJ9.${payload}.c2ln` })
    const session = await signIn()
    expect(session).toMatchObject({
      did: ALICE.did,
      scope: 'atproto transition:generic',
      expiresAt: network.clock.now() + 3_599_000,
      status: 'active',
    })
  })
})

describe('no refresh token', () => {
  test('means a session that ends with its access token, without a loop (H08)', async () => {
    network.on(
      at.exchange,
      faults.changeJson(({ refresh_token: _, ...body }) => body),
    )
    const session = await signIn()
    expect((await session.fetch('/xrpc/dev.signet.echo')).status).toBe(200)
    network.clock.advance(3_600_000)
    expect(session.status).toBe('expired')
    const before = network.log.length
    for (let count = 0; count < 3; count++) {
      await expect(session.fetch('/xrpc/dev.signet.echo')).rejects.toMatchObject({
        code: 'session_ended',
        reason: 'expired',
      })
    }
    await expect(session.refresh()).rejects.toMatchObject({ code: 'session_ended', reason: 'expired' })
    expect(network.log).toHaveLength(before)
  })
})

describe('other members', () => {
  test('do no harm and are not kept (TOK-13, H18)', async () => {
    network.on(at.exchange, async (_request, next) => {
      const response = await next()
      const extra =
        '"id_token":"ID_TOKEN_CANARY","did":"did:plc:x","__proto__":{"polluted":true},"extra":["EXTRA"]'
      const text = (await response.text()).replace(/}$/, `,${extra}}`)
      return new Response(text, { status: 200, headers: response.headers })
    })
    const session = await signIn()
    expect(session.did).toBe(ALICE.did)
    expect((await session.fetch('/xrpc/dev.signet.echo')).status).toBe(200)
    expect({}).not.toHaveProperty('polluted')
    const stored = JSON.stringify([...(await disk.read('sessions'))])
    expect(stored).toContain(ALICE.did)
    for (const canary of ['ID_TOKEN_CANARY', 'EXTRA', 'polluted']) expect(stored).not.toContain(canary)
  })

  test('are not taken from where they do not belong (TOK-13)', async () => {
    network.on(at.exchange, async (_request, next) => {
      const response = await next()
      const { access_token, ...rest } = (await response.json()) as Record<string, unknown>
      const text = JSON.stringify(rest).replace('{', `{"__proto__":{"access_token":"${access_token}"},`)
      return new Response(text, { status: 200, headers: response.headers })
    })
    await discarded()
  })
})

describe('what is stored', () => {
  test('binds account, issuer, PDS, client and key to each other (TOK-14)', async () => {
    await signIn()
    const [granted] = network.sessions(ALICE.did)
    const [[key, row] = []] = await disk.read('sessions')
    expect(key).toBe(`${ALICE.did} ${granted?.clientId}`)
    expect(row).toMatchObject({
      record: {
        did: ALICE.did,
        pds: PDS,
        clientId: granted?.clientId,
        server: { issuer: AS, tokenEndpoint: `${AS}/oauth/token`, revocationEndpoint: `${AS}/oauth/revoke` },
        dpopKey: { privateKey: { type: 'private', extractable: false } },
        tokens: {
          accessToken: granted?.accessToken,
          refreshToken: granted?.refreshToken,
          scope: granted?.scope,
        },
      },
    })
  })

  test('is a session that a later page uses with the same key, client and server (TOK-14)', async () => {
    await signIn()
    const session = await createTestClient(network, { storage: 'auto' }).restore(ALICE.did)
    expect(session).toMatchObject({ did: ALICE.did, pds: PDS, issuer: AS })
    await session.refresh()
    const [exchange, refresh] = network.requests(at.token)
    expect(refresh?.proof?.jkt).toBe(exchange?.proof?.jkt)
    expect(refresh?.form.client_id).toBe(exchange?.form.client_id)
  })

  test('is nothing when the disk refuses it, and what was issued is revoked (H16, TOK-11)', async () => {
    const { put } = IDBObjectStore.prototype
    vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(function (this: IDBObjectStore, value, key) {
      if (this.name === 'sessions') throw new DOMException('The disk is full', 'QuotaExceededError')
      return put.call(this, value, key)
    })
    expect(await discarded()).toMatchObject({ code: 'storage_failed', operation: 'write', retryable: false })
  })

  test('is a whole session, though the disk refuses to note that it is the one in use (H16)', async () => {
    const { put } = IDBObjectStore.prototype
    vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(function (this: IDBObjectStore, value, key) {
      if (key === 'current') throw new DOMException('The disk is full', 'QuotaExceededError')
      return put.call(this, value, key)
    })
    const session = await signIn()
    expect((await session.fetch('/xrpc/dev.signet.echo')).status).toBe(200)
    expect(network.count(at.revoke)).toBe(0)
  })
})
