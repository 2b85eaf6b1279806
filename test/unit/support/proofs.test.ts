import { describe, expect, test } from 'vitest'
import { ALICE, BOB, CLIENT_ID, PDS, PDS2 } from '../../support/hosts.ts'
import { generateDpopKey } from '../../support/keys.ts'
import { errorOf, start } from './miniature-client.ts'

describe('nonces', () => {
  const callTwice = async (mode: 'every-response' | 'single-use' | 'per-session') => {
    const { network, client } = start()
    const alice = await client.signIn(ALICE.handle)
    const bob = await client.signIn(BOB.handle)
    network.pds.world.nonces(PDS).mode = mode
    const call = (flow: typeof alice, nonce: string | undefined) => {
      const accessToken = flow.tokens.access_token
      const init = { headers: { authorization: `DPoP ${accessToken}` } }
      return client.send(flow.key, `${PDS}/xrpc/dev.signet.echo`, init, { accessToken, nonce })
    }
    const nonce = (await call(alice, undefined)).headers.get('dpop-nonce') ?? ''
    const first = await call(alice, nonce)
    return [first.status, (await call(alice, nonce)).status, (await call(bob, nonce)).status]
  }

  test('may be new with every answer, good once, or bound to a session', async () => {
    expect(await callTwice('every-response')).toEqual([200, 200, 200])
    expect(await callTwice('single-use')).toEqual([200, 401, 401])
    expect(await callTwice('per-session')).toEqual([200, 200, 401])
  })
})

describe('a bad proof is refused and reported', () => {
  test.each([
    ['htu of another path', { htu: 'https://pds.signet.dev/xrpc/other' }, 'invalid_dpop_proof'],
    ['htu with a query', { htu: 'https://pds.signet.dev/xrpc/dev.signet.echo?a' }, 'invalid_dpop_proof'],
    ['htm of another method', { htm: 'POST' }, 'invalid_dpop_proof'],
    ['no ath', { ath: undefined }, 'invalid_dpop_proof'],
    ['ath of another token', { ath: 'x'.repeat(43) }, 'invalid_dpop_proof'],
    ['a guessable jti', { jti: '1' }, 'invalid_dpop_proof'],
    ['a private claim', { iss: CLIENT_ID }, 'invalid_dpop_proof'],
    ['iat as a string', { iat: 'now' }, 'invalid_dpop_proof'],
  ])('%s', async (_name, claims, error) => {
    const { network, client } = start()
    const flow = await client.signIn(ALICE.handle)
    await client.call(flow, flow.tokens.access_token, '/xrpc/dev.signet.echo')
    network.assertClean()
    const { access_token: accessToken } = flow.tokens
    const response = await client.send(
      flow.key,
      `${PDS}/xrpc/dev.signet.echo`,
      { headers: { authorization: `DPoP ${accessToken}` } },
      { accessToken, claims },
    )
    expect([response.status, await errorOf(response)]).toEqual([401, error])
    expect(() => network.assertClean()).toThrow('INV4')
  })

  test('a key with its private half', async () => {
    const { network, client } = start()
    const flow = await client.signIn(ALICE.handle)
    const header = { jwk: { kty: 'EC', crv: 'P-256', x: 'x', y: 'y', d: 'd' } }
    const response = await client.post(flow.key, `${flow.issuer}/oauth/par`, flow.parameters, { header })
    expect(response.status).toBe(401)
    expect(() => network.assertClean()).toThrow('INV4')
  })

  test('a jti used before', async () => {
    const { network, client } = start()
    const flow = await client.signIn(ALICE.handle)
    const { access_token: accessToken } = flow.tokens
    await client.call(flow, accessToken, '/xrpc/dev.signet.echo')
    const jti = 'a-jti-that-is-long-enough'
    const send = () =>
      client.send(
        flow.key,
        `${PDS}/xrpc/dev.signet.echo`,
        { headers: { authorization: `DPoP ${accessToken}` } },
        { accessToken, claims: { jti } },
      )
    expect((await send()).status).toBe(200)
    expect(await errorOf(await send())).toBe('invalid_dpop_proof')
    expect(() => network.assertClean()).toThrow('reuses a jti')
  })

  test.each([
    [-189, 200],
    [-191, 401],
    [179, 200],
    [182, 401],
  ])('iat %i seconds from the server clock gives %i', async (seconds, status) => {
    const { network, client } = start()
    const flow = await client.signIn(ALICE.handle)
    const { access_token: accessToken } = flow.tokens
    await client.call(flow, accessToken, '/xrpc/dev.signet.echo')
    const init = { headers: { authorization: `DPoP ${accessToken}` } }
    const now = network.clock.now() + seconds * 1000
    const response = await client.send(flow.key, `${PDS}/xrpc/dev.signet.echo`, init, { accessToken, now })
    expect(response.status).toBe(status)
  })

  test('every proof of a client whose clock is an hour off', async () => {
    const { network, client } = start()
    const flow = await client.authorize(ALICE.handle)
    network.clockSkew(3_600_000)
    const response = await client.post(flow.key, `${flow.issuer}/oauth/par`, flow.parameters)
    expect(await response.json()).toMatchObject({
      error: 'invalid_dpop_proof',
      error_description: expect.stringContaining('iat'),
    })
  })
})

describe('the resource server', () => {
  test('answers public methods without a nonce and others only with a token', async () => {
    const { client } = start()
    const key = await generateDpopKey()
    const open = await client.send(key, `${PDS}/xrpc/com.atproto.server.describeServer`, {}, null)
    expect([open.status, open.headers.get('dpop-nonce')]).toEqual([200, null])
    expect((await client.send(key, `${PDS}/xrpc/dev.signet.echo`, {}, null)).status).toBe(401)
  })

  test('refuses tokens that are expired, of another server, or of an account that moved away', async () => {
    const { network, client } = start()
    const flow = await client.signIn(ALICE.handle)
    const call = (pds = PDS) =>
      client.call({ ...flow, pds }, flow.tokens.access_token, '/xrpc/dev.signet.echo')
    expect((await call(PDS2)).status).toBe(401)
    expect((await call()).status).toBe(200)
    network.moveAccount(ALICE.did, PDS2)
    expect((await call()).status).toBe(401)
    network.moveAccount(ALICE.did, PDS)
    network.expireAccessToken(ALICE.did)
    expect((await call()).status).toBe(401)
    expect(network.violations().join()).toContain('INV1')
  })

  test('says which scope is missing', async () => {
    const { network, client } = start()
    network.pds.requiredScopes.set('dev.signet.echo', 'transition:chat.bsky')
    const flow = await client.signIn(ALICE.handle)
    const response = await client.call(flow, flow.tokens.access_token, '/xrpc/dev.signet.echo')
    expect(response.status).toBe(403)
    expect(response.headers.get('www-authenticate')).toBeNull()
  })
})
