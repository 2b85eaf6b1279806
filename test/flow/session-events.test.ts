import { expect, test, vi } from 'vitest'
import { createTestClient, signInTo } from '../support/client.ts'
import { ALICE, at, BOB, createFakeNetwork, faults } from '../support/network.ts'
import { failureOf } from './failure.ts'
import { HOUR, PING, record, warm } from './signed-in.ts'
import { signedInBrowser } from './tabs.ts'

test('an app learns how each session begins, stands and ends, and why (STO-14)', async () => {
  const network = createFakeNetwork()
  const client = createTestClient(network)
  const { sessions } = record(client)
  const told = () =>
    sessions.splice(0).map(({ did, status, previous, error }) => [did, status, previous, error?.code])

  const session = await signInTo(network, client, ALICE.handle)
  expect(told()).toEqual([[ALICE.did, 'active', undefined, undefined]])

  await session.refresh()
  expect(told()).toEqual([
    [ALICE.did, 'refreshing', 'active', undefined],
    [ALICE.did, 'active', 'refreshing', undefined],
  ])

  const down = network.on(at.refresh, faults.status(503))
  await failureOf(network, session.refresh())
  expect(told()).toEqual([
    [ALICE.did, 'refreshing', 'active', undefined],
    [ALICE.did, 'offline', 'refreshing', 'token_request_failed'],
  ])
  down.off()
  await session.refresh()
  expect(told().at(-1)).toEqual([ALICE.did, 'active', 'refreshing', undefined])

  network.revokeSession(ALICE.did)
  await failureOf(network, session.refresh())
  expect(told().at(-1)).toEqual([ALICE.did, 'revoked', 'refreshing', 'session_ended'])

  await signInTo(network, client, ALICE.handle)
  expect(told()).toEqual([[ALICE.did, 'active', 'revoked', undefined]])
  await client.signOut()
  expect(told()).toEqual([[ALICE.did, 'signed_out', 'active', undefined]])
})

test('an app can list its accounts with all that there is to show of them (STO-14)', async () => {
  const network = createFakeNetwork()
  const client = createTestClient(network)
  await signInTo(network, client, ALICE.handle)
  network.clock.advance(1000)
  const bob = await signInTo(network, client, BOB.handle)
  const shared = {
    pds: ALICE.pds,
    issuer: network.as.issuer,
    scope: bob.scope,
    status: 'active',
    movedTo: undefined,
  }
  expect(client.accounts).toMatchObject([
    { ...shared, did: ALICE.did, handle: ALICE.handle, current: false, expiresAt: expect.any(Number) },
    { ...shared, did: BOB.did, handle: BOB.handle, current: true, lastUsedAt: network.clock.now() },
  ])
})

test('the snapshot is the same object until something in it changes, and a listener hears of each change (STO-14)', async () => {
  const { network, client, session } = await warm()
  const heard: string[] = []
  const stop = client.subscribe(({ accounts }) => heard.push(accounts.map(({ status }) => status).join()))
  expect(heard).toEqual(['active'])
  const before = client.getSnapshot()
  await session.fetch(PING)
  expect(client.getSnapshot()).toBe(before)
  network.clock.advance(2 * HOUR)
  await session.fetch(PING)
  expect(client.getSnapshot()).not.toBe(before)
  expect(heard).toContain('refreshing')
  expect(heard.at(-1)).toBe('active')
  stop()
  const count = heard.length
  await client.signOut()
  expect(heard).toHaveLength(count)
})

test('what is shown of the account in use is replaced when it stands differently, unlike its session (STO-14)', async () => {
  const { network, client, session } = await warm()
  const before = client.getSnapshot()
  expect(before.account).toBe(before.accounts[0])
  expect(before.account).toMatchObject({ did: session.did, current: true, status: 'active' })
  network.revokeSession(session.did)
  await session.refresh().catch(() => {})
  const after = client.getSnapshot()
  expect(before.account?.status).toBe('active')
  expect(after.account).toMatchObject({ did: session.did, status: 'revoked' })
  expect(after.session).toBe(before.session)
  await client.signOut()
  expect(client.getSnapshot().account).toBeUndefined()
  expect(client.getServerSnapshot().account).toBeUndefined()
})

test('a listener that throws disturbs neither the refresh nor the other listeners (STO-14)', async () => {
  const { network, client, session } = await warm()
  const thrown = await collectUncaught(async () => {
    client.on('session', () => {
      throw new Error('a mistake of the app')
    })
    const { sessions } = record(client)
    await session.refresh()
    expect((await session.fetch(PING)).status).toBe(200)
    expect(sessions.map(({ status }) => status)).toEqual(['refreshing', 'active'])
  })
  expect(thrown).toMatchObject([{ message: 'a mistake of the app' }, { message: 'a mistake of the app' }])
  network.assertClean()
})

test('a subscriber that throws costs nobody the sign-in it hears of (STO-14)', async () => {
  const network = createFakeNetwork()
  const client = createTestClient(network)
  const { url } = await client.authorize(ALICE.handle)
  const thrown = await collectUncaught(async () => {
    client.subscribe(({ session }) => {
      if (session) throw new Error('a mistake of the app')
    })
    expect((await client.handleCallback(network.approve(url))).status).toBe('active')
  })
  expect(thrown[0]).toMatchObject({ message: 'a mistake of the app' })
  expect(network.sessionAlive(ALICE.did)).toBe(true)
})

/** What nobody caught while `work` ran. */
async function collectUncaught(work: () => Promise<void>): Promise<unknown[]> {
  const thrown: unknown[] = []
  const listeners = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  process.on('uncaughtException', (error) => thrown.push(error))
  try {
    await work()
  } finally {
    process.removeAllListeners('uncaughtException')
    for (const listener of listeners) process.on('uncaughtException', listener)
  }
  return thrown
}

test('the end of a session without refresh token is told when a request finds it (STO-14, TOK-12)', async () => {
  const network = createFakeNetwork()
  network.on(
    at.exchange,
    faults.changeJson(({ refresh_token: _, ...answer }) => answer),
  )
  const client = createTestClient(network)
  const session = await signInTo(network, client, ALICE.handle)
  const { sessions } = record(client)
  network.clock.advance(HOUR)
  await failureOf(network, session.fetch(PING))
  expect(client.accounts[0]?.status).toBe('expired')
  expect(sessions.map(({ status }) => status)).toEqual(['expired'])
})

test('a server that is down before a token expires is not shown with every request (STO-14, I19)', async () => {
  const { network, client, session } = await warm()
  const { sessions } = record(client)
  network.clock.set((session.expiresAt ?? 0) - 30_000)
  network.on(at.refresh, faults.status(503))
  for (let request = 0; request < 10; request++) expect((await session.fetch(PING)).status).toBe(200)
  expect(sessions.map(({ status }) => status)).toEqual(['refreshing', 'active'])
})

test('an account that another tab signed out leaves the list when a refresh finds it, channel or not (REV-06)', async () => {
  vi.stubGlobal('BroadcastChannel', undefined)
  try {
    const { network, client, openTab } = await signedInBrowser()
    const other = await openTab()
    await client.signOut()
    network.clock.advance(2 * HOUR)
    await failureOf(network, other.session.fetch(PING))
    expect(other.client.status).toBe('signed-out')
    expect(other.client.accounts).toEqual([])
  } finally {
    vi.unstubAllGlobals()
  }
})

test('a session is shown with the state that its sign-in was given (STO-14)', async () => {
  const network = createFakeNetwork()
  const client = createTestClient(network)
  const { url } = await client.authorize(ALICE.handle, { appState: 'draft' })
  const shown: unknown[] = []
  client.subscribe(({ session }) => session && shown.push(session.appState))
  await client.handleCallback(network.approve(url))
  expect(new Set(shown)).toEqual(new Set(['draft']))
})
