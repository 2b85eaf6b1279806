import { afterEach, describe, expect, test, vi } from 'vitest'
import { createTestClient, signInTo } from '../support/client.ts'
import { ALICE, at, createFakeNetwork, faults, PDS2 } from '../support/network.ts'
import { failureOf } from './failure.ts'
import { HOUR, MINUTE, PING, SECOND, until, warm } from './signed-in.ts'
import { readAll, rowKey, signedInBrowser, write } from './tabs.ts'

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
  vi.unstubAllGlobals()
})

/** A browser that tells who had a lock that it is free again when it is told to. */
function slowLocks(): { freed: Promise<void>; release(): void } {
  const request = navigator.locks.request.bind(navigator.locks)
  let release = () => {}
  let free = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const freed = new Promise<void>((resolve) => {
    free = resolve
  })
  vi.spyOn(navigator.locks, 'request').mockImplementation((async (
    ...call: Parameters<LockManager['request']>
  ) => {
    const result = await request(...call)
    free()
    await held
    return result
  }) as LockManager['request'])
  return { freed, release }
}

/** A service worker that guards refreshes in the way given. */
function stubGuard(onMessage: (port: MessagePort) => void | Promise<void>): void {
  const active = { postMessage: (_data: unknown, [port]: [MessagePort]) => onMessage(port) }
  const serviceWorker = { getRegistration: async () => ({ active }) }
  vi.stubGlobal('navigator', { locks: navigator.locks, serviceWorker })
}

describe('a refresh that ends just as', () => {
  test('the session is signed out does not make it work again (L06, REV-01)', async () => {
    const { network, client, session } = await signedInBrowser()
    network.clock.advance(2 * HOUR)
    const locks = slowLocks()
    const refresh = failureOf(network, session.refresh())
    await locks.freed
    await client.signOut()
    locks.release()
    expect((await refresh).code).toBe('session_ended')
    const before = network.count(at.resource)
    expect((await failureOf(network, session.fetch(PING))).code).toBe('session_ended')
    expect(network.count(at.resource)).toBe(before)
  })

  test('the account is signed in anew does not bring the old key and token back (L06, TOK-15)', async () => {
    const { network, client, session } = await signedInBrowser()
    network.clock.advance(2 * HOUR)
    const { url } = await client.authorize(ALICE.handle)
    const locks = slowLocks()
    const refresh = session.refresh().catch(() => {})
    await locks.freed
    await client.handleCallback(network.approve(url))
    locks.release()
    await refresh
    const before = network.count(at.resource)
    expect((await session.fetch(PING)).status).toBe(200)
    const token = network.sessions(ALICE.did).at(-1)?.accessToken
    expect(
      network
        .requests(at.resource)
        .slice(before)
        .map(({ accessToken }) => accessToken),
    ).toContain(token)
    expect(
      new Set(
        network
          .requests(at.resource)
          .slice(before)
          .map(({ accessToken }) => accessToken),
      ).size,
    ).toBe(1)
  })

  test('the account is signed in anew does not call the new session revoked when it was refused (L06)', async () => {
    const { network, client, session } = await signedInBrowser()
    network.clock.advance(2 * HOUR)
    const { url } = await client.authorize(ALICE.handle)
    network.revokeSession(ALICE.did)
    const locks = slowLocks()
    const refresh = failureOf(network, session.refresh())
    await locks.freed
    await client.handleCallback(network.approve(url))
    locks.release()
    expect((await refresh).code).toBe('session_ended')
    expect(session.status).toBe('active')
  })

  test('the account is found to have moved leaves no live tokens at the old server (I12)', async () => {
    const network = createFakeNetwork()
    network.as.settings.accessTokenLifetime = 86_400
    const client = createTestClient(network)
    const session = await signInTo(network, client, ALICE.handle)
    await session.fetch(PING)
    network.moveAccount(ALICE.did, PDS2)
    network.clock.advance(HOUR + MINUTE)
    network.on(at.resource, faults.answer({}))
    network.on(at.revoke, faults.unreachable(), { times: 1 })
    const held = faults.hold()
    network.on(at.refresh, held.handler)
    const refresh = failureOf(network, session.refresh())
    await held.reached
    await session.fetch(PING)
    await until(client, ({ accounts }) => accounts[0]?.status === 'moved')
    held.release()
    expect((await refresh).code).toBe('account_moved')
    await vi.waitFor(() => expect(network.sessionAlive(ALICE.did)).toBe(false))
  })
})

describe('a refresh by a service worker', () => {
  test('fails when it finds the account signed out (REV-06)', async () => {
    vi.stubGlobal('BroadcastChannel', undefined)
    const { network, namespace, session } = await signedInBrowser()
    stubGuard(async (port) => {
      port.postMessage('accepted')
      await write(namespace, 'sessions', rowKey(ALICE.did), { version: 1, signedOutAt: network.clock.now() })
      port.postMessage({})
    })
    network.clock.advance(2 * HOUR)
    expect((await failureOf(network, session.refresh())).code).toBe('session_ended')
  })

  test('that was killed holds up no request for which another tab has brought tokens (REF-04)', async () => {
    const { network, client, session, openTab } = await signedInBrowser()
    const other = await openTab()
    network.clock.advance(2 * HOUR)
    const { locks } = navigator
    const asked = new Promise<void>((resolve) => {
      stubGuard((port) => {
        port.postMessage('accepted')
        resolve()
      })
    })
    const request = session.fetch(PING)
    await asked
    vi.stubGlobal('navigator', { locks })
    await other.session.refresh()
    await until(client, () => session.expiresAt === other.session.expiresAt)
    expect((await request).status).toBe(200)
  })
})

test('a lock that does not come free says nothing of a session that was signed in meanwhile (L01)', async () => {
  const { network, client, session, namespace } = await signedInBrowser()
  let wake = () => {}
  const asleep = navigator.locks.request(
    `signet:${namespace}:${ALICE.did}`,
    () =>
      new Promise<void>((resolve) => {
        wake = resolve
      }),
  )
  network.clock.advance(2 * HOUR)
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  const request = session.fetch(PING)
  await vi.waitFor(() => expect(vi.getTimerCount()).toBeGreaterThan(0))
  await signInTo(network, client, ALICE.handle)
  expect((await request).status).toBe(200)
  await vi.advanceTimersByTimeAsync(21 * SECOND)
  expect(session.status).toBe('active')
  vi.useRealTimers()
  wake()
  await asleep
})

test('locks that the browser has and refuses are done without (L01)', async () => {
  const { network, session } = await warm()
  vi.spyOn(navigator.locks, 'request').mockRejectedValue(new DOMException('Not here', 'SecurityError'))
  network.clock.advance(2 * HOUR)
  expect((await session.fetch(PING)).status).toBe(200)
})

test('tabs that come online with a server that is still down do not all send the refresh token (L10, REF-04)', async () => {
  const page = new EventTarget()
  vi.stubGlobal('addEventListener', page.addEventListener.bind(page))
  vi.stubGlobal('removeEventListener', page.removeEventListener.bind(page))
  const { network, openTabs } = await signedInBrowser()
  const tabs = await openTabs(10)
  network.clock.advance(2 * HOUR)
  network.on(at.refresh, (request, next) => {
    network.clock.advance(5)
    return faults.status(503)(request, next)
  })
  await Promise.allSettled(tabs.map(({ session }) => session.fetch(PING)))
  const before = network.count(at.refresh)
  network.clock.advance(10 * SECOND)
  page.dispatchEvent(new Event('online'))
  await network.settled(at.refresh, before + 1)
  await vi.waitFor(() => expect(tabs.every(({ session }) => session.status === 'offline')).toBe(true))
  expect(network.count(at.refresh) - before).toBeLessThanOrEqual(2)
})

test('a request that was on its way when its account was signed out leaves no trace of it (STO-02)', async () => {
  const { network, namespace, client, session } = await signedInBrowser()
  await session.fetch(PING)
  network.clock.advance(MINUTE)
  const held = faults.hold({ after: true })
  network.on(at.resource, held.handler)
  const request = session.fetch(PING)
  await held.reached
  await client.signOut()
  held.release()
  await request
  expect(await readAll(namespace, 'nonces')).toEqual([])
  expect(await readAll(namespace, 'settings')).toEqual([])
})
