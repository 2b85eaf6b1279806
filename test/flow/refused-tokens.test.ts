import { describe, expect, test, vi } from 'vitest'
import type { Handler } from '../support/faults.ts'
import { at, BOB, faults } from '../support/network.ts'
import { failureOf } from './failure.ts'
import { HOUR, MINUTE, PING, record, refreshes, SECOND, signedIn, warm } from './signed-in.ts'
import { signedInBrowser } from './tabs.ts'

const invalidToken = (
  headers: Record<string, string> = { 'www-authenticate': 'DPoP error="invalid_token"' },
): Handler => faults.answer({ error: 'invalid_token', message: 'Invalid token' }, { status: 401, headers })

describe('a token that the PDS refuses', () => {
  test('is replaced once, and the request repeated once (RS-05)', async () => {
    const { network, session } = await warm()
    network.clock.advance(MINUTE)
    network.expireAccessToken(session.did)
    const before = network.count(at.resource)
    expect((await session.fetch(PING)).status).toBe(200)
    expect(refreshes(network)).toBe(1)
    expect(network.count(at.resource) - before).toBe(2)
    network.assertClean()
  })

  test('is replaced also where CORS hides the challenge (RS-05, J13)', async () => {
    const { network, session } = await warm()
    network.clock.advance(MINUTE)
    network.expireAccessToken(session.did)
    network.on(at.resource, faults.changeHeaders({ 'www-authenticate': null }))
    expect((await session.fetch(PING)).status).toBe(200)
    expect(refreshes(network)).toBe(1)
  })

  test('is replaced once for ten requests that find out together (RS-05, REF-04)', async () => {
    const { network, session } = await warm()
    network.clock.advance(MINUTE)
    network.expireAccessToken(session.did)
    const responses = await Promise.all(Array.from({ length: 10 }, () => session.fetch(PING)))
    expect(responses.map(({ status }) => status)).toEqual(Array(10).fill(200))
    expect(refreshes(network)).toBe(1)
    network.assertClean()
  })

  test('whatever token it is: there is one refresh, a report, and the session stays (RS-05, RS-07, I18)', async () => {
    const { network, client, session } = await warm()
    const { diagnostics } = record(client)
    network.clock.advance(MINUTE)
    network.on(at.resource, invalidToken())
    const before = network.count(at.resource)
    const response = await session.fetch(PING)
    expect(response.status).toBe(401)
    expect(await response.json()).toMatchObject({ error: 'invalid_token' })
    expect(network.count(at.resource) - before).toBe(2)
    expect(refreshes(network)).toBe(1)
    expect(client.session).toBe(session)
    expect(client.accounts).toHaveLength(1)
    expect(network.sessionAlive(session.did)).toBe(true)
    expect(diagnostics).toContainEqual(expect.objectContaining({ code: 'token_refused', did: session.did }))
  })

  test('always leads to no more than one refresh in thirty seconds (I18)', async () => {
    const { network, session } = await warm()
    network.clock.advance(MINUTE)
    network.on(at.resource, invalidToken())
    for (let request = 0; request < 10; request++) {
      expect((await session.fetch(PING)).status).toBe(401)
      network.clock.advance(2 * SECOND)
    }
    expect(refreshes(network)).toBe(1)
    network.clock.advance(31 * SECOND)
    expect((await session.fetch(PING)).status).toBe(401)
    expect(refreshes(network)).toBe(2)
  })

  test('and a server that is down for a new one: the refusal is the app’s, and the session stays (RS-05, RS-07)', async () => {
    const { network, client, session } = await warm()
    network.clock.advance(MINUTE)
    network.expireAccessToken(session.did)
    network.on(at.refresh, faults.status(503))
    expect((await session.fetch(PING)).status).toBe(401)
    expect(client.session).toBe(session)
    expect(session.status).toBe('offline')
  })
})

test('a request that was under way during a refresh is repeated with the new token, without another refresh (REF-13)', async () => {
  const { network, session } = await warm()
  const upload = faults.hold()
  network.on(at.resource, upload.handler, { times: 1 })
  const body = new Blob(['x'.repeat(10_000)])
  const request = session.fetch(PING, { method: 'POST', body })
  await upload.reached
  network.clock.advance(MINUTE)
  await session.refresh()
  // Long enough ago that the next refusal could lead to a refresh.
  network.clock.advance(40 * SECOND)
  upload.release()
  expect((await request).status).toBe(200)
  expect(refreshes(network)).toBe(1)
  expect(
    network
      .requests(at.resource)
      .slice(-2)
      .map(({ bytes }) => bytes.byteLength),
  ).toEqual([10_000, 10_000])
  network.assertClean()
})

test('requests go on with the token at hand while a refresh is under way, and those refused wait for it (REF-13, REF-10)', async () => {
  const { network, session } = await warm()
  network.clock.advance(59 * MINUTE + 20 * SECOND)
  const refresh = faults.hold({ after: true })
  let begin = () => {}
  const answered = new Promise<void>((resolve) => {
    begin = resolve
  })
  network.on(
    { ...at.refresh, where: ({ proof }) => proof?.payload.nonce !== undefined },
    async (request, next) => {
      await answered
      return refresh.handler(request, next)
    },
  )
  expect((await session.fetch(PING)).status).toBe(200)
  begin()
  await refresh.reached
  expect(session.status).toBe('refreshing')
  // The server has replaced the token by now.
  const requests = Array.from({ length: 5 }, () => session.fetch(PING))
  const refused = {
    ...at.resource,
    where: ({ response }: { response: { status: number } | undefined }) => response?.status === 401,
  }
  for (let nth = 2; nth <= 6; nth++) await network.settled(refused, nth)
  refresh.release()
  for (const { status } of await Promise.all(requests)) expect(status).toBe(200)
  expect(refreshes(network)).toBe(1)
  expect(session.status).toBe('active')
  network.assertClean()
})

describe('no refresh, and no end of the session, follows', () => {
  const www = (value: string) => ({ 'www-authenticate': value })

  test.each<[string, number, unknown, Record<string, string>]>([
    ['a missing scope', 403, { error: 'ScopeMissingError', message: 'Missing required scope "rpc:x"' }, {}],
    ['insufficient_scope', 403, {}, www('DPoP error="insufficient_scope", scope="transition:generic"')],
    ['403 with invalid_token', 403, { error: 'invalid_token' }, www('DPoP error="invalid_token"')],
    ['a takedown', 401, { error: 'AccountTakedown' }, {}],
    ['a deactivated account', 401, { error: 'AccountDeactivated' }, {}],
    ['401 without anything', 401, undefined, {}],
    ['401 of another scheme', 401, {}, www('Bearer error="invalid_token"')],
    ['401 invalid_request', 401, {}, www('DPoP error="invalid_request"')],
    ['400 ExpiredToken', 400, { error: 'ExpiredToken' }, {}],
    ['400 InvalidToken', 400, { error: 'InvalidToken' }, {}],
    ['400 invalid_token', 400, { error: 'invalid_token' }, {}],
    ['400 invalid_token with a nonce', 400, { error: 'invalid_token' }, { 'dpop-nonce': 'abc' }],
    [
      '400 invalid_token with a challenge and a nonce',
      400,
      {},
      { 'dpop-nonce': 'abc', ...www('DPoP error="invalid_token"') },
    ],
    ['404', 404, { error: 'invalid_token' }, www('DPoP error="invalid_token"')],
    ['500', 500, { error: 'invalid_token' }, www('DPoP error="invalid_token"')],
  ])('%s (RS-06, J25)', async (_name, status, body, headers) => {
    const { network, client, session } = await warm()
    network.clock.advance(MINUTE)
    network.on(at.resource, faults.status(status, body, headers))
    const before = network.count(at.resource)
    const response = await session.fetch(PING)
    expect(response.status).toBe(status)
    expect(await response.text()).toBe(body === undefined ? '' : JSON.stringify(body))
    expect(network.count(at.resource) - before).toBe(1)
    expect(network.count(at.refresh)).toBe(0)
    expect(client.session).toBe(session)
    expect(session.status).toBe('active')
  })

  test('a permission that was not granted: the answer names it (RS-06)', async () => {
    const { network, session } = await warm()
    network.pds.requiredScopes.set('dev.signet.ping', 'repo:dev.signet.secret')
    const response = await session.fetch(PING)
    expect(response.status).toBe(403)
    expect(await response.json()).toMatchObject({
      error: 'ScopeMissingError',
      message: expect.stringContaining('repo:dev.signet.secret'),
    })
    expect(network.count(at.refresh)).toBe(0)
    network.assertClean()
  })
})

test('a refusal without a reason leads to one refresh at most when the token has expired (J25)', async () => {
  const { network, session } = await warm()
  network.clock.advance(2 * HOUR)
  network.on(at.resource, faults.status(401))
  expect((await session.fetch(PING)).status).toBe(401)
  expect(refreshes(network)).toBe(1)
})

test('a token that another account of the same server has replaced is of no concern (DPOP-13, REF-04)', async () => {
  const { network, client, session } = await warm()
  const { createTestClient, signInTo } = await import('../support/client.ts')
  const bob = await signInTo(network, createTestClient(network), BOB.handle)
  await bob.refresh()
  expect((await session.fetch(PING)).status).toBe(200)
  expect(client.session).toBe(session)
  expect(network.count({ ...at.resource, where: ({ response }) => response?.status === 401 })).toBe(1)
  network.assertClean()
})

test('a request after the session has ended fails without one being sent (RS-06, REF-07)', async () => {
  const { network, session } = await signedIn()
  network.revokeSession(session.did)
  await failureOf(network, session.refresh())
  const before = network.log.length
  const error = await failureOf(network, session.fetch(PING))
  expect(error).toMatchObject({ code: 'session_ended', reason: 'refresh_rejected', did: session.did })
  expect(network.log.length).toBe(before)
  network.assertClean()
})

test('a token that is refused while a page that is gone replaces it is waited for, however young it is (I04, REF-04)', async () => {
  const { network, session, openTab } = await signedInBrowser()
  const held = faults.hold({ after: true })
  network.on(at.refresh, held.handler)
  const refresh = session.refresh()
  await held.reached
  const other = await openTab()
  const request = other.session.fetch(PING)
  await vi.waitFor(() => expect(other.session.status).toBe('refreshing'))
  held.release()
  expect((await request).status).toBe(200)
  await refresh
  expect(refreshes(network)).toBe(1)
})
