import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { signInTo } from '../support/client.ts'
import { ALICE, createFakeNetwork } from '../support/network.ts'
import { failureOf } from './failure.ts'
import { HOUR, SECOND } from './signed-in.ts'
import { createBrowser, readAll, write } from './tabs.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

describe('sign-ins that nobody finished', () => {
  let network: ReturnType<typeof createFakeNetwork>
  beforeEach(() => {
    network = createFakeNetwork()
  })

  test('are gone after an hour, without anybody asking for them (STO-05)', async () => {
    const browser = createBrowser(network)
    const client = browser.openClient()
    for (let attempt = 0; attempt < 5; attempt++) await client.authorize(ALICE.handle)
    expect(await readAll(browser.namespace, 'authorizations')).toHaveLength(5)
    client.close()
    network.clock.advance(HOUR + SECOND)
    await browser.openClient().initialize()
    await vi.waitFor(async () => expect(await readAll(browser.namespace, 'authorizations')).toEqual([]))
  })

  test('are gone when the clock was set back meanwhile (STO-05)', async () => {
    const browser = createBrowser(network)
    await browser.openClient().authorize(ALICE.handle)
    network.clock.advance(-2 * HOUR)
    network.clockSkew(2 * HOUR)
    await browser.openClient().initialize()
    await vi.waitFor(async () => expect(await readAll(browser.namespace, 'authorizations')).toEqual([]))
  })

  test('never become many (STO-05, K13)', async () => {
    const browser = createBrowser(network)
    const client = browser.openClient()
    for (let attempt = 0; attempt < 12; attempt++) {
      await client.authorize(ALICE.handle)
      network.clock.advance(SECOND)
    }
    expect((await readAll(browser.namespace, 'authorizations')).length).toBeLessThanOrEqual(8)
  })

  test('are cleared away by the thousand in a few steps (K13)', async () => {
    const browser = createBrowser(network)
    const client = browser.openClient()
    await client.authorize(ALICE.handle)
    client.close()
    const [[, pending] = []] = await readAll(browser.namespace, 'authorizations')
    await new Promise<void>((resolve) => {
      const opening = indexedDB.open(`signet:${browser.namespace}`)
      opening.onsuccess = () => {
        const writing = opening.result.transaction('authorizations', 'readwrite')
        for (let stale = 0; stale < 2000; stale++) {
          writing
            .objectStore('authorizations')
            .put({ ...(pending as object), createdAt: stale }, `stale ${stale}`)
        }
        writing.oncomplete = () => {
          opening.result.close()
          resolve()
        }
      }
    })
    const transactions = vi.spyOn(IDBDatabase.prototype, 'transaction')
    const next = browser.openClient()
    await signInTo(network, next, ALICE.handle)
    await vi.waitFor(async () =>
      expect((await readAll(browser.namespace, 'authorizations')).length).toBeLessThan(8),
    )
    expect(transactions.mock.calls.filter(([, mode]) => mode === 'readwrite').length).toBeLessThan(50)
    network.assertClean()
  })
})

test('a sign-in that began in a private window cannot be finished in another (K14)', async () => {
  const network = createFakeNetwork()
  const { url } = await createBrowser(network).openClient().authorize(ALICE.handle)
  const other = createBrowser(network).openClient()
  const before = network.log.length
  expect((await failureOf(network, other.handleCallback(network.approve(url)))).code).toBe(
    'authorization_unknown',
  )
  expect(network.log.length).toBe(before)
})

test('sign-ins that tabs begin at the same time do not disturb each other (STO-08)', async () => {
  for (let delay = 0; delay < 10; delay++) {
    const browser = createBrowser(createFakeNetwork())
    const tabs = [browser.openClient(), browser.openClient()]
    const begun = tabs.map(async (client, index) => {
      await client.initialize()
      for (let turn = 0; turn < index * delay; turn++) await new Promise((done) => setImmediate(done))
      return client.authorize(ALICE.handle)
    })
    expect(await Promise.all(begun)).toHaveLength(2)
    for (const client of tabs) client.close()
  }
})

test.each([
  ['whose token endpoint was replaced', { tokenEndpoint: 'http://127.0.0.1/token' }],
  ['whose revocation endpoint was replaced', { revocationEndpoint: 'https://user@evil.signet.dev/' }],
  ['whose server is missing', undefined],
])('a kept sign-in %s gets no code (K01)', async (_what, change) => {
  const browser = createBrowser(createFakeNetwork())
  const { network, namespace } = browser
  const client = browser.openClient()
  const { url, state } = await client.authorize(ALICE.handle)
  const callback = network.approve(url)
  const [[, pending]] = (await readAll(namespace, 'authorizations')) as [[string, { server: object }]]
  await write(namespace, 'authorizations', state, {
    ...pending,
    server: change && { ...pending.server, ...change },
  })
  const before = network.log.length
  expect((await failureOf(network, client.handleCallback(callback))).code).toBe('authorization_unknown')
  expect(network.log.length).toBe(before)
})
