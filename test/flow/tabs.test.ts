import { afterEach, describe, expect, test, vi } from 'vitest'
import { signInTo } from '../support/client.ts'
import { ALICE, at, BOB, faults } from '../support/network.ts'
import { failureOf } from './failure.ts'
import { HOUR, MINUTE, PING, record, refreshes, SECOND, until } from './signed-in.ts'
import { readRow, signedInBrowser } from './tabs.ts'

afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

/** Answered by the server, not refused for its nonce. */
const processed = {
  ...at.refresh,
  where: ({ proof }: { proof: { payload: Readonly<Record<string, unknown>> } | undefined }) =>
    proof?.payload.nonce !== undefined,
}

describe('with one expired token', () => {
  test.each([
    [2, 5],
    [5, 10],
    [10, 5],
  ])('%i tabs with %i calls each make one token request (REF-04, I02)', async (tabs, calls) => {
    const browser = await signedInBrowser()
    const { network } = browser
    const open = await browser.openTabs(tabs)
    network.clock.advance(2 * HOUR)
    const answers = await Promise.all(
      open.flatMap(({ session }) => Array.from({ length: calls }, () => session.fetch(PING))),
    )
    expect(answers.map(({ status }) => status)).toEqual(Array(tabs * calls).fill(200))
    expect(refreshes(network)).toBe(1)
    network.assertClean()
  })

  test('twenty tabs that wake after a night make one token request and no herd of others (L10)', async () => {
    const browser = await signedInBrowser()
    const { network } = browser
    network.clock.advance(9 * HOUR)
    const before = network.log.length
    const tabs = await browser.openTabs(20)
    const answers = await Promise.all(tabs.map(({ session }) => session.fetch(PING)))
    expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(200))
    await vi.waitFor(() => expect(network.log.every(({ outcome }) => outcome !== 'open')).toBe(true))
    expect(refreshes(network)).toBe(1)
    const others = network.log
      .slice(before)
      .filter(({ path }) => !path.startsWith('/xrpc/dev.') && !path.startsWith('/oauth/'))
    expect(others.length).toBeLessThanOrEqual(10)
    network.assertClean()
  })

  test('a tab that waited for another adopts its tokens, and asks no server for its own (REF-04, REF-08)', async () => {
    const browser = await signedInBrowser()
    const { network } = browser
    const other = await browser.openTab()
    network.clock.advance(2 * HOUR)
    const refresh = faults.hold({ after: true })
    network.on(processed, refresh.handler)
    const first = browser.session.fetch(PING)
    await refresh.reached
    const second = other.session.fetch(PING)
    refresh.release()
    for (const { status } of await Promise.all([first, second])) expect(status).toBe(200)
    expect(other.session.expiresAt).toBe(browser.session.expiresAt)
    expect(refreshes(network)).toBe(1)
    network.assertClean()
  })
})

test('new tokens are on disk before anything uses them, and a mark is before they are asked for (REF-02, I01, I03, STO-04)', async () => {
  const { network, namespace, session } = await signedInBrowser()
  const seen: unknown[] = []
  network.on(at.refresh, async (request, next) => {
    const row = await readRow(namespace, ALICE.did)
    seen.push({
      marked: row?.record.refreshAttempt !== undefined,
      sent: row?.record.tokens.refreshToken === request.form.refresh_token,
    })
    return next()
  })
  network.on(at.resource, async (request, next) => {
    const row = await readRow(namespace, ALICE.did)
    seen.push({ stored: row?.record.tokens.accessToken === request.accessToken })
    return next()
  })
  network.clock.advance(2 * HOUR)
  expect((await session.fetch(PING)).status).toBe(200)
  expect(seen.length).toBeGreaterThan(2)
  for (const state of seen) expect([{ marked: true, sent: true }, { stored: true }]).toContainEqual(state)
  expect((await readRow(namespace, ALICE.did))?.record.refreshAttempt).toBeUndefined()
  network.assertClean()
})

describe('a tab that hears nothing of the others', () => {
  const deaf = async () => {
    vi.stubGlobal('BroadcastChannel', undefined)
    const browser = await signedInBrowser()
    const other = await browser.openTab()
    await other.session.fetch(PING)
    return { ...browser, other }
  }

  test('finds newer tokens in storage when its own have expired (REF-04, REF-08)', async () => {
    const { network, session, other } = await deaf()
    network.clock.advance(2 * HOUR)
    await session.fetch(PING)
    expect((await other.session.fetch(PING)).status).toBe(200)
    expect(refreshes(network)).toBe(1)
    network.assertClean()
  })

  test.each([
    ['long', MINUTE],
    ['only just', SECOND],
  ])('finds them when its own, which it has had %s, are refused (REF-13, RS-05)', async (_name, age) => {
    const { network, session, other } = await deaf()
    network.clock.advance(age)
    await session.refresh()
    expect((await other.session.fetch(PING)).status).toBe(200)
    expect(refreshes(network)).toBe(1)
    network.assertClean()
  })

  test('finds them after a refresh of its own that failed (REF-08)', async () => {
    const { network, session, other } = await deaf()
    network.clock.advance(2 * HOUR)
    network.on(at.refresh, faults.oauthError('server_error', { status: 500 }), { times: 1 })
    await failureOf(network, other.session.fetch(PING))
    await session.refresh()
    expect((await other.session.fetch(PING)).status).toBe(200)
    expect(refreshes(network)).toBe(1)
    network.assertClean()
  })

  test('makes no request for a session that another one has signed out, as soon as it looks (REV-06, L05)', async () => {
    const { network, client, other } = await deaf()
    network.clock.advance(2 * HOUR)
    await client.signOut()
    const before = network.log.length
    expect(await failureOf(network, other.session.fetch(PING))).toMatchObject({
      code: 'session_ended',
      reason: 'signed_out',
    })
    expect(network.log.length).toBe(before)
  })
})

describe('a sign-out in one tab', () => {
  test('ends the session in the others, which make no further request (REV-06, L05)', async () => {
    const browser = await signedInBrowser()
    const { network } = browser
    const other = await browser.openTab()
    const { sessions } = record(other.client)
    await browser.client.signOut()
    await until(other.client, ({ accounts }) => accounts.length === 0)
    expect(other.client).toMatchObject({ session: undefined, status: 'signed-out' })
    expect(sessions).toEqual([expect.objectContaining({ did: ALICE.did, status: 'signed_out' })])
    const before = network.log.length
    expect(await failureOf(network, other.session.fetch(PING))).toMatchObject({
      code: 'session_ended',
      reason: 'signed_out',
    })
    expect(network.log.length).toBe(before)
    network.assertClean()
  })

  test('revokes the tokens that another tab has brought since (REV-02)', async () => {
    const browser = await signedInBrowser()
    const { network, client } = browser
    const other = await browser.openTab()
    await other.session.refresh()
    await client.signOut()
    expect(network.sessionAlive(ALICE.did)).toBe(false)
    network.assertClean()
  })

  test('wins over a refresh of another tab, whose new tokens are revoked and not kept (L06, REV-06)', async () => {
    const browser = await signedInBrowser()
    const { network, namespace, client } = browser
    const other = await browser.openTab()
    network.clock.advance(2 * HOUR)
    const refresh = faults.hold({ after: true })
    network.on(processed, refresh.handler)
    const failed = failureOf(network, other.session.fetch(PING))
    await refresh.reached
    await client.signOut()
    refresh.release()
    expect(await failed).toMatchObject({ code: 'session_ended', reason: 'signed_out' })
    const fresh = network.sessions()[0]?.refreshToken
    expect(network.requests(at.revoke).map(({ form }) => form.token)).toContain(fresh)
    expect(network.sessionAlive(ALICE.did)).toBe(false)
    expect((await readRow(namespace, ALICE.did))?.record).toBeUndefined()
    expect(other.client.accounts).toEqual([])
    const next = browser.openClient()
    expect(await next.initialize()).toBeUndefined()
    network.assertClean()
  })
})

describe('a sign-in in one tab', () => {
  test('as somebody else leaves the others as they are (L07)', async () => {
    const browser = await signedInBrowser()
    const { network } = browser
    const other = await browser.openTab()
    await signInTo(network, browser.client, BOB.handle)
    expect(browser.client.session?.did).toBe(BOB.did)
    await until(other.client, ({ accounts }) => accounts.length === 2)
    expect(other.client.session).toBe(other.session)
    expect(other.session.did).toBe(ALICE.did)
    expect(await (await other.session.fetch('/xrpc/com.atproto.server.getSession')).json()).toMatchObject({
      did: ALICE.did,
    })
    network.assertClean()
  })

  test('as the same account gives the others its tokens (L07, TOK-15)', async () => {
    const browser = await signedInBrowser()
    const { network } = browser
    const other = await browser.openTab()
    const { expiresAt } = other.session
    network.clock.advance(10 * MINUTE)
    await signInTo(network, browser.client, ALICE.handle)
    await until(other.client, () => other.session.expiresAt !== expiresAt)
    expect((await other.session.fetch(PING)).status).toBe(200)
    expect(network.log.at(-1)?.accessToken).toBe(network.sessions()[1]?.accessToken)
    network.assertClean()
  })
})

test('a session that ends in one tab ends in the others (REV-06, STO-14)', async () => {
  const browser = await signedInBrowser()
  const { network, session } = browser
  const other = await browser.openTab()
  network.revokeSession(ALICE.did)
  await failureOf(network, session.refresh())
  await until(other.client, () => other.session.status === 'revoked')
  const before = network.log.length
  expect((await failureOf(network, other.session.fetch(PING))).code).toBe('session_ended')
  expect(network.log.length).toBe(before)
})

test('tabs that replace the tokens of two accounts at once keep both (STO-06)', async () => {
  const browser = await signedInBrowser()
  const { network, client, session } = browser
  await signInTo(network, client, BOB.handle)
  const other = await browser.openTab()
  expect(other.session.did).toBe(BOB.did)
  network.clock.advance(2 * HOUR)
  const answers = await Promise.all([session.fetch(PING), other.session.fetch(PING)])
  expect(answers.map(({ status }) => status)).toEqual([200, 200])
  const next = browser.openClient()
  await next.initialize()
  for (const { did } of next.accounts) expect((await (await next.restore(did)).fetch(PING)).status).toBe(200)
  expect(refreshes(network)).toBe(2)
  network.assertClean()
})

describe('a tab that holds the lock and sleeps', () => {
  const lockOf = (namespace: string) => `signet:${namespace}:${ALICE.did}`

  test('is waited for, but no longer than twenty seconds, and is not robbed (L03)', async () => {
    const { network, namespace, client, session } = await signedInBrowser()
    let wake = () => {}
    const asleep = navigator.locks.request(
      lockOf(namespace),
      () =>
        new Promise<string>((resolve) => {
          wake = () => resolve('kept')
        }),
    )
    network.clock.advance(2 * HOUR)
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const failed = failureOf(network, session.fetch(PING))
    await vi.waitFor(() => expect(vi.getTimerCount()).toBe(1))
    await vi.advanceTimersByTimeAsync(19 * SECOND)
    expect(session.status).toBe('refreshing')
    await vi.advanceTimersByTimeAsync(2 * SECOND)
    expect(await failed).toMatchObject({ code: 'timed_out', retryable: true })
    expect(network.count(at.refresh)).toBe(0)
    expect(client.session).toBe(session)
    wake()
    expect(await asleep).toBe('kept')
    vi.useRealTimers()
    expect((await session.fetch(PING)).status).toBe(200)
    expect(refreshes(network)).toBe(1)
    network.assertClean()
  })

  test('delays nobody whose token lives (L03)', async () => {
    const { network, namespace, session } = await signedInBrowser()
    let wake = () => {}
    const asleep = navigator.locks.request(
      lockOf(namespace),
      () =>
        new Promise<void>((resolve) => {
          wake = resolve
        }),
    )
    network.clock.set((session.expiresAt ?? 0) - 20 * SECOND)
    expect((await session.fetch(PING)).status).toBe(200)
    expect(network.count(at.refresh)).toBe(0)
    wake()
    await asleep
    await session.refresh()
    network.assertClean()
  })
})

test('a lock that is stolen in the middle of a refresh costs no token (N12)', async () => {
  const browser = await signedInBrowser()
  const { network, namespace, session } = browser
  const other = await browser.openTab()
  network.clock.advance(2 * HOUR)
  const refresh = faults.hold()
  network.on(processed, refresh.handler, { times: 1 })
  const first = session.fetch(PING)
  await refresh.reached
  await navigator.locks.request(`signet:${namespace}:${ALICE.did}`, { steal: true }, () => {})
  network.clock.advance(5 * SECOND)
  const second = other.session.fetch(PING)
  // Time enough for a request, if one were to be made.
  for (let turn = 0; turn < 60; turn++) await readRow(namespace, ALICE.did)
  expect(network.count(processed)).toBe(1)
  refresh.release()
  for (const { status } of await Promise.all([first, second])) expect(status).toBe(200)
  expect(network.sessionAlive(ALICE.did)).toBe(true)
  expect(refreshes(network)).toBe(1)
  network.assertClean()
})

describe('the next page after one that was closed', () => {
  test('in mid-refresh tries the token once more, after a pause, and goes on (I04, REF-08)', async () => {
    const browser = await signedInBrowser()
    const { network } = browser
    network.clock.advance(2 * HOUR)
    network.on(at.refresh, faults.unreachable(), { times: 1 })
    await failureOf(network, browser.session.fetch(PING))
    browser.client.close()
    network.clock.advance(2 * SECOND)
    const next = await browser.openTab()
    expect((await next.session.fetch(PING)).status).toBe(200)
    expect(refreshes(network)).toBe(1)
    network.assertClean()
  })

  test('and was killed with its request on the way waits until that must be over, and goes on (I04, REF-08)', async () => {
    const browser = await signedInBrowser()
    const { network, namespace } = browser
    const next = await browser.openTab()
    network.clock.advance(2 * HOUR)
    const reached = new Promise<void>((resolve) => {
      network.on(
        processed,
        (request, answer) => {
          resolve()
          return faults.hang()(request, answer)
        },
        { times: 1 },
      )
    })
    browser.session.fetch(PING).catch(() => {})
    await reached
    // A page that is killed gives up its lock.
    await navigator.locks.request(`signet:${namespace}:${ALICE.did}`, { steal: true }, () => {})
    network.clock.advance(MINUTE)
    expect((await next.session.fetch(PING)).status).toBe(200)
    expect(refreshes(network)).toBe(1)
    network.assertClean()
  })

  test('when the server had answered says that the rotation was lost, after one attempt (I04)', async () => {
    const browser = await signedInBrowser()
    const { network } = browser
    network.clock.advance(2 * HOUR)
    network.on(processed, faults.loseAnswer(), { times: 1 })
    await failureOf(network, browser.session.fetch(PING))
    browser.client.close()
    network.clock.advance(2 * SECOND)
    const next = await browser.openTab()
    expect(next.session.status).toBe('active')
    network.tolerate('INV8')
    expect(await failureOf(network, next.session.fetch(PING))).toMatchObject({
      code: 'session_ended',
      reason: 'rotation_lost',
    })
    expect(next.client.accounts).toMatchObject([{ did: ALICE.did, status: 'rotation_lost' }])
    const last = browser.openClient()
    await last.initialize()
    expect(last.accounts).toMatchObject([{ did: ALICE.did, status: 'rotation_lost' }])
    network.assertClean()
  })
})
