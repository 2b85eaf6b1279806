import { afterEach, describe, expect, test, vi } from 'vitest'
import { ALICE, at, type FakeRequest, faults } from '../support/network.ts'
import { failureOf } from './failure.ts'
import { HOUR, MINUTE, PING, refreshes, SECOND } from './signed-in.ts'
import { readRow, signedInBrowser } from './tabs.ts'

afterEach(() => {
  vi.useRealTimers()
})

/** Answered by the server, not refused for its nonce. */
const processed = {
  ...at.refresh,
  where: (request: FakeRequest) => request.proof?.payload.nonce !== undefined,
}

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
