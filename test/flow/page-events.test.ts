import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { signInTo } from '../support/client.ts'
import { ALICE, at, BOB, faults } from '../support/network.ts'
import { failureOf } from './failure.ts'
import { HOUR, PING, record, refreshes, SECOND, until, warm } from './signed-in.ts'
import { editRow, readRow, rowKey, signedInBrowser, write } from './tabs.ts'

const page = new EventTarget()
const dispatch = (type: string, members: object = {}): void => {
  page.dispatchEvent(Object.assign(new Event(type), members))
}

beforeAll(() => {
  vi.stubGlobal('addEventListener', page.addEventListener.bind(page))
  vi.stubGlobal('removeEventListener', page.removeEventListener.bind(page))
  // Nothing but the page's own events may tell it anything.
  vi.stubGlobal('BroadcastChannel', undefined)
})

afterAll(() => {
  vi.unstubAllGlobals()
})

describe('a page that comes back from the back/forward cache', () => {
  test('drops a session that was signed out meanwhile (O09, L05)', async () => {
    const browser = await signedInBrowser()
    const { network, client } = browser
    const other = await browser.openTab()
    await client.signOut()
    expect(other.client.session).toBe(other.session)
    dispatch('pageshow', { persisted: true })
    await until(other.client, ({ accounts }) => accounts.length === 0)
    const before = network.log.length
    expect((await failureOf(network, other.session.fetch(PING))).code).toBe('session_ended')
    expect(network.log.length).toBe(before)
  })

  test('goes on with the tokens that were stored meanwhile (O09)', async () => {
    const browser = await signedInBrowser()
    const { network, session } = browser
    const other = await browser.openTab()
    network.clock.advance(10 * SECOND)
    await session.refresh()
    dispatch('pageshow', { persisted: true })
    await until(other.client, () => other.session.expiresAt === session.expiresAt)
    expect((await other.session.fetch(PING)).status).toBe(200)
    expect(network.count(at.refresh)).toBe(1)
    network.assertClean()
  })

  test('knows an account that was signed in meanwhile (O09)', async () => {
    const browser = await signedInBrowser()
    const { network, client } = browser
    const other = await browser.openTab()
    await signInTo(network, client, BOB.handle)
    dispatch('pageshow', { persisted: true })
    await until(other.client, ({ accounts }) => accounts.length === 2)
    expect(other.client.session).toBe(other.session)
  })
})

describe('a page whose device is online again', () => {
  test('refreshes what it could not, by itself (I05)', async () => {
    const { network, client, session } = await warm()
    network.clock.advance(2 * HOUR)
    const down = network.on({ role: 'as' }, faults.unreachable())
    await failureOf(network, session.fetch(PING))
    expect(session.status).toBe('offline')
    down.off()
    dispatch('online')
    await until(client, () => session.status === 'active')
    expect(refreshes(network)).toBe(1)
    expect((await session.fetch(PING)).status).toBe(200)
    network.assertClean()
  })

  test('asks for nothing when all is well (I05)', async () => {
    const { network, namespace, client, session } = await signedInBrowser()
    dispatch('online')
    await readRow(namespace, ALICE.did)
    await client.restore(ALICE.did)
    expect(session.status).toBe('active')
    expect(network.count(at.refresh)).toBe(0)
  })
})

describe('a page that is going away', () => {
  test('starts no refresh ahead of time (REF-15)', async () => {
    const { network, session } = await warm()
    network.clock.set((session.expiresAt ?? 0) - 30 * SECOND)
    dispatch('pagehide')
    expect((await session.fetch(PING)).status).toBe(200)
    expect(session.status).toBe('active')
    expect(network.count(at.refresh)).toBe(0)
    dispatch('pageshow')
  })

  test('refreshes as ever once it has come back (REF-15)', async () => {
    const { network, client, session } = await warm()
    const { expiresAt } = session
    network.clock.set((expiresAt ?? 0) - 30 * SECOND)
    dispatch('pagehide')
    dispatch('pageshow', { persisted: true })
    expect((await session.fetch(PING)).status).toBe(200)
    await until(client, () => session.expiresAt !== expiresAt)
    expect(refreshes(network)).toBe(1)
    network.assertClean()
  })
})

test('a closed client listens to the page no more (O09)', async () => {
  const { network, namespace, client } = await signedInBrowser()
  client.close()
  await editRow(namespace, ALICE.did, ({ record }) => ({ version: 1, record }))
  await write(namespace, 'sessions', rowKey(ALICE.did), { version: 1, signedOutAt: network.clock.now() })
  dispatch('pageshow', { persisted: true })
  for (let turn = 0; turn < 10; turn++) await readRow(namespace, ALICE.did)
  expect(client.accounts).toHaveLength(1)
})

describe('a page that is looked at again', () => {
  test('renders nothing where nothing has changed (STO-14)', async () => {
    const { network, client } = await signedInBrowser()
    await signInTo(network, client, BOB.handle)
    const before = client.getSnapshot()
    let heard = -1
    client.subscribe(() => heard++)
    dispatch('pageshow', { persisted: true })
    await client.restore(BOB.did)
    expect(heard).toBe(0)
    expect(client.getSnapshot()).toBe(before)
  })

  test('reports a record that can be read no more (K01)', async () => {
    const { network, namespace, client } = await signedInBrowser()
    await signInTo(network, client, BOB.handle)
    const { diagnostics } = record(client)
    await editRow(namespace, BOB.did, (row) => ({ ...row, record: { ...row.record, tokens: 5 } }))
    dispatch('pageshow', { persisted: true })
    await vi.waitFor(() => expect(diagnostics).toEqual([{ code: 'session_unreadable', did: BOB.did }]))
  })
})

test('a client that is closed before it has opened hears nothing any more (L05)', async () => {
  const { client, openClient } = await signedInBrowser()
  const closed = openClient()
  const started = closed.initialize()
  closed.close()
  await started
  await client.signOut()
  dispatch('pageshow', { persisted: true })
  await openClient().initialize()
  expect(closed.accounts).toHaveLength(1)
})
