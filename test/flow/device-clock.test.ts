import { afterEach, describe, expect, test, vi } from 'vitest'
import { createTestClient, signInTo } from '../support/client.ts'
import { START_OF_TIME } from '../support/clock.ts'
import { ALICE, at, createFakeNetwork, faults } from '../support/network.ts'
import { failureOf } from './failure.ts'
import { HOUR, MINUTE, moveDeviceClock, PING, refreshes, SECOND, signedIn, warm } from './signed-in.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

const app = { role: 'app', method: 'HEAD' } as const
const SKEWS = [
  ['10 minutes behind', 10 * MINUTE],
  ['10 minutes ahead', -10 * MINUTE],
  ['5 hours behind', 5 * HOUR],
  ['5 hours ahead', -5 * HOUR],
  ['23 hours behind', 23 * HOUR],
  ['23 hours ahead', -23 * HOUR],
] as const

/** More time than a measurement of the clock is believed for. */
function passRealTime(): void {
  const now = performance.now()
  vi.spyOn(performance, 'now').mockReturnValue(now + MINUTE)
}

describe.each(SKEWS)('a device whose clock is %s', (_name, skew) => {
  test('signs in, makes requests, refreshes and signs out (DPOP-07, DPOP-23)', async () => {
    const network = createFakeNetwork()
    network.clockSkew(skew)
    const client = createTestClient(network)
    const session = await signInTo(network, client, ALICE.handle)
    expect((await session.fetch(PING)).status).toBe(200)
    network.clock.advance(2 * HOUR)
    expect((await session.fetch(PING)).status).toBe(200)
    expect(refreshes(network)).toBe(1)
    await client.signOut()
    expect(network.sessionAlive(ALICE.did)).toBe(false)
    expect(network.count(app)).toBe(1)
    network.assertClean()
  })

  test('counts the life of its tokens by its own clock (DPOP-23, TOK-12)', async () => {
    const network = createFakeNetwork()
    network.clockSkew(skew)
    const session = await signInTo(network, createTestClient(network), ALICE.handle)
    expect(session.expiresAt).toBe(network.clock.now() + 3599 * SECOND)
  })
})

test('a clock that is right enough is not looked at (DPOP-07)', async () => {
  const network = createFakeNetwork()
  network.clockSkew(150 * SECOND)
  const session = await signInTo(network, createTestClient(network), ALICE.handle)
  expect((await session.fetch(PING)).status).toBe(200)
  expect(network.count(app)).toBe(0)
  network.assertClean()
})

test.each([
  ['3 hours forward', 3 * HOUR],
  ['3 hours back', -3 * HOUR],
  ['20 hours forward', 20 * HOUR],
  ['20 hours back', -20 * HOUR],
])('a clock that is set %s in mid-session costs no session and no error (DPOP-23)', async (_name, jump) => {
  const { network, client, session } = await warm()
  moveDeviceClock(network, jump)
  for (let request = 0; request < 3; request++) {
    expect((await session.fetch(PING)).status).toBe(200)
    network.clock.advance(25 * MINUTE)
  }
  expect((await session.fetch(PING)).status).toBe(200)
  expect(refreshes(network)).toBeLessThanOrEqual(2)
  expect(network.count(at.resource)).toBeLessThanOrEqual(12)
  expect(client.session).toBe(session)
  network.assertClean()
})

test.each([
  ['forward', 3 * HOUR],
  ['back', -3 * HOUR],
])(
  'a clock that is set %s during a refresh costs no session and no error (DPOP-23, REF-02)',
  async (_name, jump) => {
    const { network, session } = await warm()
    const refresh = faults.hold({ after: true })
    network.on(at.refresh, refresh.handler, { times: 1 })
    const refreshing = session.refresh()
    await refresh.reached
    moveDeviceClock(network, jump)
    refresh.release()
    await refreshing
    for (let request = 0; request < 3; request++) expect((await session.fetch(PING)).status).toBe(200)
    expect(refreshes(network)).toBeLessThanOrEqual(2)
    expect(session.status).toBe('active')
    network.assertClean()
  },
)

test('a clock that is mended after it was allowed for is measured anew (DPOP-23)', async () => {
  const network = createFakeNetwork()
  network.clockSkew(3 * HOUR)
  const session = await signInTo(network, createTestClient(network), ALICE.handle)
  expect((await session.fetch(PING)).status).toBe(200)
  moveDeviceClock(network, 3 * HOUR, 3 * HOUR)
  expect((await session.fetch(PING)).status).toBe(200)
  expect((await session.fetch(PING)).status).toBe(200)
  expect(network.count(app)).toBe(2)
  network.assertClean()
})

test('requests that are refused together share one look at the clock (DPOP-23)', async () => {
  const { network, session } = await warm()
  moveDeviceClock(network, 30 * MINUTE)
  const responses = await Promise.all(Array.from({ length: 10 }, () => session.fetch(PING)))
  expect(responses.map(({ status }) => status)).toEqual(Array(10).fill(200))
  expect(network.count(app)).toBe(1)
  network.assertClean()
})

test('a slow request that was signed before the clock was corrected is repeated like any other (DPOP-23)', async () => {
  const { network, session } = await warm()
  moveDeviceClock(network, 30 * MINUTE)
  const slow = faults.hold()
  network.on(at.resource, slow.handler, { times: 1 })
  const upload = session.fetch(PING, { method: 'POST', body: 'long' })
  await slow.reached
  expect((await session.fetch(PING)).status).toBe(200)
  passRealTime()
  slow.release()
  expect((await upload).status).toBe(200)
})

describe('where the time of the app’s own server', () => {
  test.each([
    ['cannot be read', faults.unreachable()],
    ['is not told', faults.changeHeaders({ date: null })],
    ['is no date', faults.changeHeaders({ date: 'today' })],
    ['is out of reach', faults.changeHeaders({ date: 'Thu, 01 Jan 1970 00:00:00 GMT' })],
    ['is as wrong', faults.changeHeaders({ date: new Date(START_OF_TIME - 30 * MINUTE).toUTCString() })],
  ])(
    '%s, the error says that the proof was refused, and the session stays (DPOP-23, REF-07)',
    async (_name, handler) => {
      const { network, client, session } = await signedIn()
      moveDeviceClock(network, -30 * MINUTE)
      network.on(app, handler)
      const error = await failureOf(network, session.refresh())
      expect(error).toMatchObject({ code: 'dpop_rejected', oauthError: 'invalid_dpop_proof' })
      const response = await session.fetch(PING)
      expect(response.status).toBe(401)
      expect(client.session).toBe(session)
      moveDeviceClock(network, 30 * MINUTE, 30 * MINUTE)
      await session.refresh()
      expect((await session.fetch(PING)).status).toBe(200)
      network.assertClean()
    },
  )
})

test('a proof that is refused for anything else is sent twice at most (DPOP-23)', async () => {
  const { network, session } = await warm()
  network.on(
    at.resource,
    faults.answer(
      { error: 'invalid_dpop_proof' },
      { status: 401, headers: { 'www-authenticate': 'DPoP error="invalid_dpop_proof"' } },
    ),
  )
  const before = network.count(at.resource)
  expect((await session.fetch(PING)).status).toBe(401)
  expect(network.count(at.resource) - before).toBeLessThanOrEqual(2)
  expect(network.count(at.refresh)).toBe(0)
})
