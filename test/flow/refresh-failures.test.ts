import { afterEach, describe, expect, test, vi } from 'vitest'
import type { OAuthErrorCode } from '../../src/index.ts'
import { createTestClient, signInTo } from '../support/client.ts'
import type { Handler } from '../support/faults.ts'
import { ALICE, at, createFakeNetwork, EVIL, faults } from '../support/network.ts'
import { failureOf } from './failure.ts'
import { HOUR, MINUTE, PING, record, refreshes, SECOND, until, warm } from './signed-in.ts'

afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

/** The server does nothing, and what it says does not arrive in full. */
const breakOff: Handler = (request) =>
  faults.truncatedBody(10)(request, async () => new Response('{"access_token":"x"}'))

const FAILURES: [name: string, handler: () => Handler, code: OAuthErrorCode][] = [
  ['no connection', faults.unreachable, 'network_failed'],
  ['an answer that breaks off', () => breakOff, 'network_failed'],
  ['a bad gateway', () => faults.html(502), 'token_request_failed'],
  ['server_error', () => faults.oauthError('server_error', { status: 500 }), 'token_request_failed'],
  [
    '503 temporarily_unavailable',
    () => faults.oauthError('temporarily_unavailable', { status: 503 }),
    'token_request_failed',
  ],
  ['429', () => faults.status(429), 'token_request_failed'],
  ['invalid_client_metadata', () => faults.oauthError('invalid_client_metadata'), 'token_request_failed'],
  ['invalid_client', () => faults.oauthError('invalid_client', { status: 401 }), 'token_request_failed'],
  ['unauthorized_client', () => faults.oauthError('unauthorized_client'), 'token_request_failed'],
  ['unsupported_grant_type', () => faults.oauthError('unsupported_grant_type'), 'token_request_failed'],
  ['invalid_request', () => faults.oauthError('invalid_request'), 'token_request_failed'],
  ['invalid_dpop_proof', () => faults.oauthError('invalid_dpop_proof', { status: 401 }), 'dpop_rejected'],
  ['endless nonce demands', faults.nonceLoop, 'dpop_rejected'],
  [
    '401 with invalid_grant',
    () => faults.oauthError('invalid_grant', { status: 401 }),
    'token_request_failed',
  ],
  [
    '500 with invalid_grant',
    () => faults.oauthError('invalid_grant', { status: 500 }),
    'token_request_failed',
  ],
  [
    'a web page with invalid_grant',
    () => faults.text('{"error":"invalid_grant"}', 'text/html', 400),
    'token_request_failed',
  ],
  ['400 without an error', () => faults.status(400, {}), 'token_request_failed'],
  ['404', () => faults.html(404), 'token_request_failed'],
  ['a redirect', () => faults.redirectTo(`${EVIL}/oauth/token`), 'response_invalid'],
  ['a web page', () => faults.html(200), 'token_response_invalid'],
  ['broken JSON', () => faults.text('{"access_token":', 'application/json'), 'token_response_invalid'],
  ['no content', () => faults.status(204), 'token_response_invalid'],
]

test.each(FAILURES)(
  '%s fails the refresh and keeps the session, which goes on afterwards (REF-07, I05, I07)',
  async (_name, handler, code) => {
    const { network, client, session } = await warm()
    const { scope } = session
    const fault = network.on(at.refresh, handler())
    const error = await failureOf(network, session.refresh())
    expect(error.code).toBe(code)
    expect(client.session).toBe(session)
    expect(client.accounts).toMatchObject([{ did: ALICE.did, scope, status: 'offline' }])
    // The token at hand still works.
    expect((await session.fetch(PING)).status).toBe(200)

    fault.off()
    network.clock.advance(HOUR)
    expect((await session.fetch(PING)).status).toBe(200)
    expect(session.status).toBe('active')
    expect(network.sessions()[0]?.spentRefreshTokens.size).toBe(1)
    expect(network.count(at.evil)).toBe(0)
    network.assertClean()
  },
)

test.each([
  ['no answer', faults.hang()],
  ['an answer that does not end', faults.stalledBody()],
])(
  '%s fails the refresh after 30 seconds and keeps the session (REF-07, STO-10, I05)',
  async (_name, handler) => {
    const { network, client, session } = await warm()
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    let arrived = () => {}
    const reached = new Promise<void>((resolve) => {
      arrived = resolve
    })
    network.on(at.refresh, (request, next) => {
      arrived()
      return handler(request, next)
    })
    const failed = failureOf(network, session.refresh())
    await reached
    await vi.advanceTimersByTimeAsync(29 * SECOND)
    expect(session.status).toBe('refreshing')
    await vi.advanceTimersByTimeAsync(SECOND)
    expect(await failed).toMatchObject({ code: 'timed_out', timeoutMs: 30_000, retryable: true })
    expect(client.session).toBe(session)
    expect(session.status).toBe('offline')
    expect(vi.getTimerCount()).toBe(0)
  },
)

test('400 invalid_grant ends the session, which says so and stays listed (REF-07)', async () => {
  const { network, client, session } = await warm()
  const { sessions } = record(client)
  network.revokeSession(ALICE.did)
  const error = await failureOf(network, session.refresh())
  expect(error).toMatchObject({
    code: 'session_ended',
    reason: 'refresh_rejected',
    did: ALICE.did,
    retryable: false,
  })
  expect(error.cause).toMatchObject({
    code: 'token_request_failed',
    oauthError: 'invalid_grant',
    status: 400,
  })
  expect(session.status).toBe('revoked')
  expect(client.accounts).toMatchObject([{ did: ALICE.did, status: 'revoked' }])
  expect(sessions.at(-1)).toMatchObject({
    did: ALICE.did,
    status: 'revoked',
    error: { code: 'session_ended' },
  })
  const before = network.log.length
  for (const call of [session.fetch(PING), session.refresh()]) {
    expect((await failureOf(network, call)).code).toBe('session_ended')
  }
  expect(network.log.length).toBe(before)
  network.assertClean()
})

describe('a device that is offline', () => {
  test('asks for no token, and its request fails as one that may be repeated (I05)', async () => {
    const { network, session } = await warm()
    vi.stubGlobal('navigator', { onLine: false })
    network.clock.advance(2 * HOUR)
    const error = await failureOf(network, session.fetch(PING))
    expect(error).toMatchObject({ code: 'network_failed', retryable: true })
    expect(session.status).toBe('offline')
    expect(network.count(at.refresh)).toBe(0)
    vi.stubGlobal('navigator', { onLine: true })
    expect((await session.fetch(PING)).status).toBe(200)
    expect(session.status).toBe('active')
    network.assertClean()
  })
})

describe('after a failure', () => {
  const due = async (failures: number, handler: Handler) => {
    const context = await warm()
    const { network, session } = context
    network.clock.advance(2 * HOUR)
    const fault = network.on(at.refresh, handler)
    for (let failure = 0; failure < failures; failure++) await failureOf(network, session.refresh())
    fault.off()
    return { ...context, sent: network.count(at.refresh) }
  }

  test.each([
    [3, 3 * SECOND, 4 * SECOND],
    [5, 14 * SECOND, 16 * SECOND],
    [8, 127 * SECOND, 128 * SECOND],
    [20, 290 * SECOND, 300 * SECOND],
  ])(
    'number %i a call asks again only after a growing while: not after %i ms, after %i ms (I05)',
    async (failures, tooEarly, later) => {
      const { network, session, sent } = await due(failures, faults.status(503))
      network.clock.advance(tooEarly - 2 * SECOND)
      const error = await failureOf(network, session.fetch(PING))
      expect(error).toMatchObject({ code: 'network_failed', retryable: true })
      expect(network.count(at.refresh)).toBe(sent)
      network.clock.advance(later - tooEarly + 2 * SECOND)
      expect((await session.fetch(PING)).status).toBe(200)
      expect(refreshes(network)).toBe(1)
      network.assertClean()
    },
  )

  test.each([
    ['seconds', '120', 120 * SECOND],
    ['a date', new Date(Date.UTC(2026, 9, 5, 14, 2, 0)).toUTCString(), 120 * SECOND],
    ['longer than five minutes', '86400', 300 * SECOND],
  ])(
    'that asks for patience, in %s, a call waits as long as it was told (I05, RS-10)',
    async (_name, retryAfter, wait) => {
      const { network, session, sent } = await due(1, faults.status(429, {}, { 'retry-after': retryAfter }))
      network.clock.advance(wait - 3 * SECOND)
      expect((await failureOf(network, session.fetch(PING))).code).toBe('network_failed')
      expect(network.count(at.refresh)).toBe(sent)
      network.clock.advance(3 * SECOND)
      expect((await session.fetch(PING)).status).toBe(200)
      network.assertClean()
    },
  )

  test.each(['-5', 'soon', '', '1.5'])(
    'with a Retry-After of %j it is as if there were none (I05)',
    async (retryAfter) => {
      const { network, session } = await due(1, faults.status(503, {}, { 'retry-after': retryAfter }))
      network.clock.advance(SECOND)
      expect((await session.fetch(PING)).status).toBe(200)
    },
  )

  test.each([
    ['a refusal', faults.status(503)],
    ['no answer', faults.unreachable()],
    ['a web page', faults.html(200)],
  ])('such as %s the app may ask at once, and a success forgets it (I05)', async (_name, handler) => {
    const { network, session, sent } = await due(6, handler)
    await session.refresh()
    expect(network.count(at.refresh) - sent).toBeLessThanOrEqual(2)
    network.clock.advance(2 * HOUR)
    expect((await session.fetch(PING)).status).toBe(200)
    expect(network.sessions()[0]?.spentRefreshTokens.size).toBe(2)
    network.assertClean()
  })

  test('a device whose clock was set back does not wait for ever (I05, DPOP-23)', async () => {
    const { network, session } = await due(10, faults.status(503))
    network.clock.advance(-5 * HOUR)
    network.clockSkew(5 * HOUR)
    await session.refresh()
    expect((await session.fetch(PING)).status).toBe(200)
  })
})

describe('when the answer to a refresh is lost', () => {
  test('a server that had not got it yet gets it again, and the session goes on (I03, REF-08)', async () => {
    const { network, session } = await warm()
    network.clock.advance(2 * HOUR)
    network.on(at.refresh, faults.unreachable(), { times: 1 })
    await failureOf(network, session.fetch(PING))
    network.clock.advance(MINUTE)
    expect((await session.fetch(PING)).status).toBe(200)
    expect(session.status).toBe('active')
    expect(refreshes(network)).toBe(1)
    network.assertClean()
  })

  test('the token at hand is used until it expires, the other is then tried once, and the loss is named (I03, REF-08)', async () => {
    const { network, client, session } = await warm()
    const { sessions } = record(client)
    network.on(
      { ...at.refresh, where: ({ proof }) => proof?.payload.nonce !== undefined },
      faults.loseAnswer(),
      { times: 1 },
    )
    network.clock.set((session.expiresAt ?? 0) - 30 * SECOND)
    network.on(at.resource, faults.answer({}))
    await session.fetch(PING)
    await until(client, () => session.status === 'active' && network.count(at.refresh) > 0)
    const sent = network.count(at.refresh)
    for (let request = 0; request < 5; request++) {
      expect((await session.fetch(PING)).status).toBe(200)
      network.clock.advance(5 * SECOND)
    }
    expect(network.count(at.refresh)).toBe(sent)

    network.clock.advance(HOUR)
    network.tolerate('INV8')
    const error = await failureOf(network, session.fetch(PING))
    expect(error).toMatchObject({ code: 'session_ended', reason: 'rotation_lost' })
    expect(session.status).toBe('rotation_lost')
    expect(sessions.at(-1)).toMatchObject({ status: 'rotation_lost', error: { code: 'session_ended' } })
    const tried = network
      .requests(at.refresh)
      .slice(sent)
      .filter(({ responseText }) => responseText.includes('invalid_grant'))
    expect(tried).toHaveLength(1)
    const before = network.log.length
    expect((await failureOf(network, session.fetch(PING))).code).toBe('session_ended')
    expect(network.log.length).toBe(before)
    network.assertClean()
  })

  test('in a gateway that answers 502, the loss is named too (REF-08)', async () => {
    const { network, session } = await warm()
    network.on(at.refresh, faults.changeStatus(502), { times: 1 })
    await failureOf(network, session.refresh())
    network.clock.advance(2 * HOUR)
    network.tolerate('INV8')
    expect(await failureOf(network, session.fetch(PING))).toMatchObject({
      code: 'session_ended',
      reason: 'rotation_lost',
    })
  })

  test('a second lost answer is not a third request (I03)', async () => {
    const { network, session } = await warm()
    network.clock.advance(2 * HOUR)
    network.on(at.refresh, faults.unreachable(), { times: 2 })
    await failureOf(network, session.fetch(PING))
    network.clock.advance(2 * SECOND)
    await failureOf(network, session.fetch(PING))
    expect(network.count(at.refresh)).toBe(2)
    network.clock.advance(MINUTE)
    expect((await session.fetch(PING)).status).toBe(200)
    network.assertClean()
  })
})

describe('independently of each other', () => {
  test('a token is refreshed while the PDS hangs (I19)', async () => {
    const { network, session } = await warm()
    const hanging = faults.hold()
    network.on(at.resource, hanging.handler, { times: 1 })
    const stuck = session.fetch(PING)
    await hanging.reached
    await session.refresh()
    expect(refreshes(network)).toBe(1)
    hanging.release()
    expect((await stuck).status).toBe(200)
    network.assertClean()
  })

  test('requests are made while the authorization server hangs (I19)', async () => {
    const { network, session } = await warm()
    const hanging = faults.hold()
    network.on(at.refresh, hanging.handler, { times: 1 })
    const refreshing = session.refresh()
    await hanging.reached
    expect((await session.fetch(PING)).status).toBe(200)
    hanging.release()
    await refreshing
    network.assertClean()
  })
})

test('a session without refresh token and expiry has expired when its token is refused (TOK-12)', async () => {
  const network = createFakeNetwork()
  network.on(
    at.exchange,
    faults.changeJson(({ refresh_token: _, expires_in: __, ...answer }) => answer),
  )
  const session = await signInTo(network, createTestClient(network), ALICE.handle)
  network.clock.advance(MINUTE)
  network.expireAccessToken(ALICE.did)
  expect(await failureOf(network, session.fetch(PING))).toMatchObject({
    code: 'session_ended',
    reason: 'expired',
  })
  expect(session.status).toBe('expired')
})
