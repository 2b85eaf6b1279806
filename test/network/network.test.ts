import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { signInByHand } from './hand-client.ts'
import type { Account, Network } from './network.ts'
import { startNetworkProcess } from './start.ts'

let network: Network
let alice: Account
let carol: Account

beforeAll(async () => {
  network = await startNetworkProcess()
  ;[alice, , carol] = network.accounts as [Account, Account, Account]
}, 60_000)
afterAll(async () => {
  await network?.stop()
  await network?.stop()
})
afterEach(async () => {
  await network.setLatency(0)
  await network.log.clear()
})

const metadata = '/.well-known/oauth-authorization-server'
const refreshing = { grantType: 'refresh_token' }
const get = (origin: string, path: string) => fetch(origin + path)
const resolve = async (pds: string, handle: string) => {
  const response = await get(pds, `/xrpc/com.atproto.identity.resolveHandle?handle=${handle}`)
  return response.json()
}
const preflight = (url: string) =>
  fetch(url, {
    method: 'OPTIONS',
    headers: { origin: 'http://127.0.0.1:1', 'access-control-request-method': 'POST' },
  })
const post = (url: string) => fetch(url, { method: 'POST' })

describe('the servers', () => {
  test('have the accounts, in the directory too', async () => {
    expect(network.accounts.map(({ handle, pds }) => [handle, pds])).toEqual([
      ['alice.test', network.origins.pds1],
      ['bob.test', network.origins.pds1],
      ['carol.test', network.origins.pds2],
    ])
    const document = await (await get(network.origins.plc, `/${carol.did}`)).json()
    expect(document).toMatchObject({
      id: carol.did,
      alsoKnownAs: ['at://carol.test'],
      service: [{ id: '#atproto_pds', serviceEndpoint: network.origins.pds2 }],
    })
  })

  test('resolve the handles of each other, and no others', async () => {
    expect(await resolve(network.origins.pds1, 'carol.test')).toEqual({ did: carol.did })
    expect(await resolve(network.origins.pds2, 'alice.test')).toEqual({ did: alice.did })
    expect(await resolve(network.origins.pds1, 'nobody.test')).toMatchObject({ error: 'HandleNotFound' })
  })

  test('name the origin they are reached at as issuer', async () => {
    const { issuer } = await (await get(network.origins.pds2, metadata)).json()
    expect(issuer).toBe(network.origins.pds2)
  })

  test('let a moved account sign in at its new server, with its records', async () => {
    const dora = await network.createAccount('dora.test', 0)
    const { tokens, xrpc } = await signInByHand(network, dora)
    const record = { $type: 'app.bsky.feed.post', text: 'hello', createdAt: new Date().toISOString() }
    const created = await xrpc('com.atproto.repo.createRecord', tokens.body.access_token, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ repo: dora.did, collection: 'app.bsky.feed.post', record }),
    })
    expect(created.status).toBe(200)

    const moved = await network.moveAccount(dora.did)

    expect(moved).toEqual({ ...dora, pdsIndex: 1, pds: network.origins.pds2 })
    const { service } = await (await get(network.origins.plc, `/${dora.did}`)).json()
    expect(service).toMatchObject([{ id: '#atproto_pds', serviceEndpoint: network.origins.pds2 }])
    expect(await network.listRecords(dora.did, 'app.bsky.feed.post')).toMatchObject([{ value: record }])
    const session = await signInByHand(network, moved)
    expect(session.tokens.body.sub).toBe(dora.did)
    expect(await resolve(network.origins.pds2, 'dora.test')).toEqual({ did: dora.did })
  })
})

describe('the log', () => {
  test('tells requests from preflights, and holds what clients sent only', async () => {
    await preflight(`${network.origins.pds1}/oauth/par`)
    await network.createAccount('erik.test', 1)
    await get(network.origins.pds2, `${metadata}?a=1&b=2`)
    const [options, request, ...rest] = await network.log.entries()
    expect(options).toMatchObject({
      party: 'pds1',
      origin: network.origins.pds1,
      method: 'OPTIONS',
      path: '/oauth/par',
      preflight: true,
      from: 'http://127.0.0.1:1',
      status: 200,
    })
    expect(request).toMatchObject({
      party: 'pds2',
      method: 'GET',
      path: metadata,
      query: ['a', 'b'],
      preflight: false,
      dpop: false,
      status: 200,
      outcome: 'answered',
    })
    expect(rest).toEqual([])
    expect(await network.log.entries({ party: 'pds2' })).toEqual([request])
  })

  test('counts how often a refresh token was sent, and does not contain it', async () => {
    const { tokens, refresh } = await signInByHand(network, alice)
    await refresh(tokens.body.refresh_token)
    await refresh(tokens.body.refresh_token)
    const entries = await network.log.entries({ path: '/oauth/token' })
    expect(entries.map(({ grantType, status, dpop }) => [grantType, status, dpop])).toEqual([
      ['authorization_code', 200, true],
      ['refresh_token', 200, true],
      ['refresh_token', 400, true],
    ])
    const [, first, second] = entries.map(({ refreshTokenHash }) => refreshTokenHash)
    expect(first).toMatch(/^[0-9a-f]{16}$/)
    expect(second).toBe(first)
    expect(JSON.stringify(entries)).not.toContain(tokens.body.refresh_token)
  })

  test('counts rounds of requests that wait for each other', async () => {
    await network.setLatency(40)
    const pair = () => Promise.all([get(network.origins.pds1, metadata), get(network.origins.pds2, metadata)])
    await pair()
    await pair()
    await get(network.origins.plc, '/_health')
    expect(await network.log.rounds()).toBe(3)
    expect(await network.log.rounds({ party: 'pds1' })).toBe(2)
    const durations = (await network.log.entries()).map(({ start, end = 0 }) => end - start)
    expect(Math.min(...durations)).toBeGreaterThanOrEqual(39)
  })

  test('can be waited for, and says what it saw when that is in vain', async () => {
    const waited = network.log.waitFor({ path: metadata }, { count: 2 })
    await get(network.origins.pds1, metadata)
    await get(network.origins.pds2, metadata)
    expect((await waited).map(({ party }) => party)).toEqual(['pds1', 'pds2'])
    await expect(network.log.waitFor({ party: 'plc' }, { timeout: 20 })).rejects.toThrow(
      'Saw 0 of 1 × {"party":"plc"} (end)',
    )
  })
})

describe('faults', () => {
  test('an answer is held after the server has processed the request', async () => {
    const { tokens, refresh } = await signInByHand(network, alice)
    const hold = await network.hold(refreshing)
    const client = new AbortController()
    const lost = expect(refresh(tokens.body.refresh_token, client.signal)).rejects.toThrow('aborted')
    expect(await hold.held).toMatchObject({ path: '/oauth/token', grantType: 'refresh_token' })
    client.abort()
    await lost
    expect(await network.log.waitFor(refreshing)).toMatchObject([{ outcome: 'abandoned' }])
    await hold.release()
    expect(await refresh(tokens.body.refresh_token)).toMatchObject({
      status: 400,
      body: { error: 'invalid_grant' },
    })
  })

  test('a held answer arrives once released, and only that many are held', async () => {
    const hold = await network.hold({ path: metadata })
    const answer = get(network.origins.pds1, metadata)
    await hold.held
    expect((await get(network.origins.pds2, metadata)).status).toBe(200)
    expect(await network.log.entries({ party: 'pds1' })).toMatchObject([{ path: metadata }])
    await hold.release()
    expect((await answer).status).toBe(200)
  })

  test('a held answer can be lost', async () => {
    const hold = await network.hold({ path: metadata })
    const answer = get(network.origins.pds1, metadata)
    const lost = expect(answer).rejects.toThrow('fetch failed')
    await hold.held
    await hold.drop()
    await lost
    expect(await network.log.entries()).toMatchObject([{ outcome: 'dropped' }])
  })

  test('a refresh token is used up when the answer is dropped after the server, not before', async () => {
    const { tokens, refresh } = await signInByHand(network, alice)
    await network.dropBefore(refreshing)
    await expect(refresh(tokens.body.refresh_token)).rejects.toThrow('fetch failed')
    const second = await refresh(tokens.body.refresh_token)
    expect(second.status).toBe(200)
    await network.dropAfter(refreshing)
    await expect(refresh(second.body.refresh_token)).rejects.toThrow('fetch failed')
    expect(await refresh(second.body.refresh_token)).toMatchObject({
      status: 400,
      body: { error: 'invalid_grant' },
    })
  })

  test('an answer is made up with CORS headers, as often as asked', async () => {
    const url = `${network.origins.pds1}/oauth/par`
    const rule = { status: 503, headers: { 'retry-after': '1' }, body: { error: 'temporarily_unavailable' } }
    await network.answer({ path: '/oauth/*' }, rule, { times: 2 })
    expect((await preflight(url)).status).toBe(200)
    const response = await post(url)
    expect(response.status).toBe(503)
    expect(await response.json()).toEqual({ error: 'temporarily_unavailable' })
    expect(response.headers.get('access-control-allow-origin')).toBe('*')
    expect((await post(url)).status).toBe(503)
    expect((await post(url)).status).toBe(415)
  })

  test('a rule without end goes when it is removed', async () => {
    const rule = await network.answer({ party: 'plc' }, { status: 500 }, { times: 'always' })
    const statuses = []
    for (let i = 0; i < 3; i++) statuses.push((await get(network.origins.plc, `/${alice.did}`)).status)
    await rule.remove()
    statuses.push((await get(network.origins.plc, `/${alice.did}`)).status)
    expect(statuses).toEqual([500, 500, 500, 200])
  })

  test('members of a JSON answer are changed and removed', async () => {
    await network.rewriteJson({ path: metadata }, { issuer: 'http://localhost:1', token_endpoint: null })
    const changed = await (await get(network.origins.pds1, metadata)).json()
    expect(changed).toMatchObject({ issuer: 'http://localhost:1', response_types_supported: ['code'] })
    expect(changed).not.toHaveProperty('token_endpoint')
    const { issuer } = await (await get(network.origins.pds1, metadata)).json()
    expect(issuer).toBe(network.origins.pds1)
  })

  test('a server goes offline and comes back', async () => {
    const outage = await network.offline('pds1')
    await expect(get(network.origins.pds1, metadata)).rejects.toThrow('fetch failed')
    await expect(preflight(`${network.origins.pds1}/oauth/par`)).rejects.toThrow('fetch failed')
    expect((await get(network.origins.pds2, metadata)).status).toBe(200)
    await outage.remove()
    expect((await get(network.origins.pds1, metadata)).status).toBe(200)
  })

  test('the PDS refuses an access token once the lifetime set is over, and the session lives', async () => {
    const { tokens, xrpc, refresh } = await signInByHand(network, carol)
    const ask = (token: string) => xrpc('com.atproto.server.getSession', token)
    expect((await ask(tokens.body.access_token)).status).toBe(200)
    await network.setTokenLifetime(0.3)
    const { body } = await refresh(tokens.body.refresh_token)
    await expect
      .poll(async () => (await ask(body.access_token)).headers.get('www-authenticate'), { timeout: 5_000 })
      .toContain('error="invalid_token"')
    await network.setTokenLifetime(3600)
    const renewed = await refresh(body.refresh_token)
    expect((await ask(renewed.body.access_token)).status).toBe(200)
  })

  test('the PDS refuses to refresh a session at its end', async () => {
    const { tokens, refresh } = await signInByHand(network, carol)
    await network.setTokenLifetime(0)
    const refused = await refresh(tokens.body.refresh_token)
    await network.setTokenLifetime(3600)
    expect(refused).toMatchObject({ status: 400, body: { error: 'invalid_grant' } })
  })

  test('nobody signs in with a wrong password', async () => {
    const denied = signInByHand(network, { ...alice, password: 'wrong' })
    await expect(denied).rejects.toThrow('Invalid identifier or password')
  })
})
