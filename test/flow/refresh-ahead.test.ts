import { afterEach, describe, expect, test, vi } from 'vitest'
import { createTestClient, signInTo } from '../support/client.ts'
import { ALICE, at, createFakeNetwork, type FakeNetwork, faults } from '../support/network.ts'
import { failureOf } from './failure.ts'
import { DAY, HOUR, PING, record, refreshes, SECOND, until, warm } from './signed-in.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

/** Fixes what decides how early a client refreshes: 0 is as early as can be, 255 as late. */
function fixJitter(byte: number): void {
  const { getRandomValues } = crypto
  vi.spyOn(crypto, 'getRandomValues').mockImplementation((array) =>
    array instanceof Uint8Array && array.length === 1
      ? array.fill(byte)
      : getRandomValues.call(crypto, array),
  )
}

/** Moves time to so long before the token expires. */
function goTo(network: FakeNetwork, expiresAt: number | undefined, before: number): void {
  network.clock.set((expiresAt ?? 0) - before)
}

describe('ahead of expiry', () => {
  test.each([
    ['at the earliest', 0, 61 * SECOND, 59 * SECOND],
    ['at the latest', 255, 46 * SECOND, 44 * SECOND],
  ])(
    'a request starts a refresh a minute before, less some seconds to spread the tabs: %s (REF-10, L10)',
    async (_name, jitter, tooEarly, inTime) => {
      fixJitter(jitter)
      const { network, client, session } = await warm()
      const { expiresAt } = session
      goTo(network, expiresAt, tooEarly)
      expect((await session.fetch(PING)).status).toBe(200)
      expect(network.count(at.refresh)).toBe(0)
      goTo(network, expiresAt, inTime)
      expect((await session.fetch(PING)).status).toBe(200)
      await until(client, () => session.expiresAt !== expiresAt)
      expect(refreshes(network)).toBe(1)
      network.assertClean()
    },
  )

  test.each([0, 255])('of a short-lived token it starts within its last fifth (REF-10)', async (jitter) => {
    fixJitter(jitter)
    const network = createFakeNetwork()
    network.as.settings.accessTokenLifetime = 101
    const client = createTestClient(network)
    const session = await signInTo(network, client, ALICE.handle)
    const { expiresAt } = session
    goTo(network, expiresAt, 21 * SECOND)
    expect((await session.fetch(PING)).status).toBe(200)
    expect(network.count(at.refresh)).toBe(0)
    goTo(network, expiresAt, 14 * SECOND)
    expect((await session.fetch(PING)).status).toBe(200)
    await until(client, () => session.expiresAt !== expiresAt)
    network.assertClean()
  })

  test('nobody waits for it while the token lives (REF-10, I05)', async () => {
    const { network, session } = await warm()
    goTo(network, session.expiresAt, 30 * SECOND)
    const refresh = faults.hold()
    network.on(at.refresh, refresh.handler)
    const answers = await Promise.all([session.fetch(PING), session.fetch(PING)])
    expect(answers.map(({ status }) => status)).toEqual([200, 200])
    await refresh.reached
    expect((await session.fetch(PING)).status).toBe(200)
    refresh.release()
    await session.refresh()
    expect(refreshes(network)).toBe(1)
    network.assertClean()
  })

  test('its failure is nobody’s error while the token lives, and does not show (REF-10, I05)', async () => {
    const { network, client, session } = await warm()
    goTo(network, session.expiresAt, 30 * SECOND)
    network.on(at.refresh, faults.status(503))
    expect((await session.fetch(PING)).status).toBe(200)
    await network.settled(at.refresh)
    await until(client, () => session.status !== 'refreshing')
    expect(session.status).toBe('active')
    expect((await session.fetch(PING)).status).toBe(200)
    network.assertClean()
  })

  test('it is told from what the server said, not from the token (REF-10)', async () => {
    const network = createFakeNetwork()
    const claims = Buffer.from(JSON.stringify({ exp: 1, iat: 0 })).toString('base64url')
    const token = `eyJhbGciOiJub25lIn0.${claims}.expired-long-ago`
    network.on(
      at.exchange,
      faults.changeJson((answer) => {
        const [issued] = network.sessions()
        if (issued) issued.accessToken = token
        return { ...answer, access_token: token }
      }),
    )
    const session = await signInTo(network, createTestClient(network), ALICE.handle)
    expect(session.expiresAt).toBe(network.clock.now() + 3599 * SECOND)
    expect((await session.fetch(PING)).status).toBe(200)
    expect(network.count(at.refresh)).toBe(0)
  })
})

describe('the end of a public session', () => {
  test('is known from the start, and no refresh moves it (REF-12)', async () => {
    const { network, client, session } = await warm()
    const endsAt = network.clock.now() + 14 * DAY
    expect(client.accounts[0]?.endsAt).toBe(endsAt)
    network.clock.advance(5 * DAY)
    await session.refresh()
    expect(client.accounts[0]?.endsAt).toBe(endsAt)
  })

  test('is reported a day ahead, also on a page that stays open (REF-12)', async () => {
    const { network, client, session } = await warm()
    const { diagnostics } = record(client)
    for (let day = 0; day < 12; day++) {
      network.clock.advance(DAY)
      await session.fetch(PING)
    }
    expect(diagnostics).toEqual([])
    network.clock.advance(1.5 * DAY)
    await session.fetch(PING)
    const { endsAt } = session.account
    expect(diagnostics).toContainEqual({ code: 'session_ending', did: ALICE.did, endsAt })
  })

  test('is told from a revocation when it has come, and signing in again names the account (REF-12, REF-07)', async () => {
    const { network, client, session } = await warm()
    network.clock.advance(14 * DAY + HOUR)
    const error = await failureOf(network, session.fetch(PING))
    expect(error).toMatchObject({ code: 'session_ended', reason: 'expired' })
    expect(session.status).toBe('expired')
    expect(client.accounts[0]?.status).toBe('expired')
    const again = await signInTo(network, client, session.did)
    expect(network.requests(at.par).at(-1)?.form.login_hint).toBe(ALICE.did)
    expect(again).toBe(session)
    expect((await again.fetch(PING)).status).toBe(200)
    network.assertClean()
  })
})
