import { afterEach, describe, expect, test, vi } from 'vitest'
import { signInTo } from '../support/client.ts'
import { ALICE, at, BOB, type FakeRequest, faults } from '../support/network.ts'
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
  where: (request: FakeRequest) => request.proof?.payload.nonce !== undefined,
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

  test('as the same account wins over a refresh of another tab, which goes on with the new tokens (L06, TOK-15)', async () => {
    const browser = await signedInBrowser()
    const { network } = browser
    const other = await browser.openTab()
    network.clock.advance(2 * HOUR)
    const refresh = faults.hold({ after: true })
    network.on(processed, refresh.handler, { times: 1 })
    const request = other.session.fetch(PING)
    await refresh.reached
    await signInTo(network, browser.client, ALICE.handle)
    refresh.release()
    expect((await request).status).toBe(200)
    expect(network.log.at(-1)?.accessToken).toBe(network.sessions()[1]?.accessToken)
    await vi.waitFor(() => expect(network.sessions().map(({ alive }) => alive)).toEqual([false, true]))
    expect((await browser.session.fetch(PING)).status).toBe(200)
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
