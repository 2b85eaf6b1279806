import 'fake-indexeddb/auto'
import { openDB } from 'idb'
import { afterEach, expect, test, vi } from 'vitest'
import { createTestClient } from '../support/client.ts'
import { PLC, RESOLVER } from '../support/hosts.ts'
import { ALICE, APP, at, CLIENT_METADATA, createFakeNetwork, PDS } from '../support/network.ts'
import { openPage } from './page.ts'
import { HOUR, PING, warm } from './signed-in.ts'
import { createBrowser, readAll } from './tabs.ts'

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
  vi.unstubAllGlobals()
})

test('a request may be given a Request as its options, as fetch() takes one (RS-08)', async () => {
  const { network, session } = await warm()
  const request = new Request(`${PDS}${PING}`, {
    method: 'POST',
    body: '{"a":1}',
    headers: { 'content-type': 'application/json' },
  })
  await session.fetch(PING, request)
  const sent = network.requests(at.resource).at(-1)
  expect(sent?.method).toBe('POST')
  expect(sent?.headers.get('content-type')).toBe('application/json')
  expect(new TextDecoder().decode(sent?.bytes)).toBe('{"a":1}')
})

test('a request may be given options of a class of the app (RS-08)', async () => {
  const { network, session } = await warm()
  class Options {
    get method() {
      return 'POST'
    }
    get body() {
      return '{"a":1}'
    }
  }
  await session.fetch(PING, new Options())
  expect(network.requests(at.resource).at(-1)?.method).toBe('POST')
})

test('a wrong clock is mended in a worker that was made of a blob (DPOP-23)', async () => {
  vi.stubGlobal('location', { href: `blob:${APP}/3c7f8a0e-0000-4000-8000-000000000000` })
  const network = createFakeNetwork()
  network.clockSkew(5 * HOUR)
  const asked: string[] = []
  const client = createTestClient(network, {
    fetch: ((url: string, init: RequestInit) => {
      asked.push(url)
      return network.fetch(url, init)
    }) as typeof fetch,
  })
  const { url } = await client.authorize(ALICE.handle)
  const session = await client.handleCallback(network.approve(url))
  expect((await session.fetch(PING)).status).toBe(200)
  expect(asked.filter((each) => each.includes('time='))).toEqual([expect.stringMatching(`^${APP}/`)])
})

const spent = async () => {
  const browser = createBrowser(createFakeNetwork())
  const { url } = await browser.openClient().authorize(ALICE.handle)
  openPage(browser.network.approve(url))
  const client = browser.openClient()
  const { put } = IDBObjectStore.prototype
  const spy = vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(function (
    this: IDBObjectStore,
    v,
    k,
  ) {
    if (this.name === 'sessions') throw new DOMException('Full', 'QuotaExceededError')
    return put.call(this, v, k)
  })
  return { client, spy }
}

test('initialize() does not try a spent callback again', async () => {
  const { client, spy } = await spent()
  await expect(client.initialize()).rejects.toMatchObject({ code: 'storage_failed' })
  spy.mockRestore()
  const again = await client.initialize().catch(({ code }) => code)
  expect([undefined, 'storage_failed']).toContain(again)
})

test('handleCallback() says again what became of a spent callback', async () => {
  const { client } = await spent()
  await expect(client.handleCallback()).rejects.toMatchObject({ code: 'storage_failed', retryable: false })
  await expect(client.handleCallback()).rejects.toMatchObject({ code: 'storage_failed' })
})

test('a client may be given options that inherit from others', async () => {
  const network = createFakeNetwork()
  const { clientMetadata: _, ...own } = {
    clientMetadata: 0,
    fetch: network.fetch as typeof fetch,
    now: network.clock.now,
    plcDirectory: PLC,
    handleResolver: RESOLVER,
    scope: 'atproto',
  }
  network.clients.publish(structuredClone(CLIENT_METADATA))
  const options = Object.assign(Object.create({ clientMetadata: structuredClone(CLIENT_METADATA) }), own)
  const { createOAuthClient } = await import('../../src/index.ts')
  const client = createOAuthClient(options)
  const { url } = await client.authorize(ALICE.handle).finally(() => client.close())
  expect(new URL(url).searchParams.get('client_id')).toBe(CLIENT_METADATA.client_id)
})

test('a made-up refusal of a popup is an OAuthError (L08)', async () => {
  const browser = createBrowser(createFakeNetwork())
  openPage(`${APP}/`)
  const replaced = Promise.withResolvers<void>()
  const popup = { closed: false, opener: {}, close() {}, location: { replace: () => replaced.resolve() } }
  vi.stubGlobal('window', { open: () => popup })
  const outcome = browser
    .openClient()
    .signInWithPopup(ALICE.handle)
    .catch((error) => error)
  await replaced.promise
  await new Promise((resolve) => setTimeout(resolve, 20))
  const [[state] = ['']] = await readAll(browser.namespace, 'authorizations')
  const channel = new BroadcastChannel(`signet:${browser.namespace}`)
  channel.postMessage({
    version: 1,
    type: 'refused',
    state,
    code: 'token_request_failed',
    facts: { oauthError: 5 },
  })
  expect((await outcome).name).toBe('OAuthError')
  channel.close()
})

test('a popup sign-in that is on its way ends when its client is closed', async () => {
  const network = createFakeNetwork()
  const browser = createBrowser(network)
  openPage(`${APP}/`)
  const popup = { closed: false, opener: {}, close: vi.fn(), location: { replace: vi.fn() } }
  vi.stubGlobal('window', { open: () => popup })
  const client = browser.openClient()
  const outcome = client.signInWithPopup(ALICE.handle).catch(({ code }) => code)
  await new Promise((resolve) => setTimeout(resolve, 0))
  client.close()
  expect(await Promise.race([outcome, new Promise((resolve) => setTimeout(resolve, 1500, 'hangs'))])).toBe(
    'popup_closed',
  )
})

/** Keeps the pending sign-ins to itself, as a tab that hangs in the middle of a write does. */
async function hold(namespace: string) {
  const db = await openDB(`signet:${namespace}`)
  return () => {
    const { store } = db.transaction('authorizations', 'readwrite')
    let held = true
    const holding = (async () => {
      while (held) await store.get('x')
    })()
    return async () => {
      held = false
      await holding
      db.close()
    }
  }
}
const soon = <T>(work: Promise<T>) =>
  Promise.race([work, new Promise<'hangs'>((resolve) => setTimeout(resolve, 1_000, 'hangs'))])

test('a popup sign-in that is given up closes its window though storage is held', async () => {
  const browser = createBrowser(createFakeNetwork())
  openPage(`${APP}/`)
  const { promise: gone, resolve: navigated } = Promise.withResolvers<void>()
  const close = vi.fn()
  vi.stubGlobal('window', {
    open: () => ({ closed: false, opener: {}, close, location: { replace: () => navigated() } }),
  })
  const stop = new AbortController()
  const outcome = browser
    .openClient()
    .signInWithPopup(ALICE.handle, { signal: stop.signal })
    .catch((error) => error)
  await gone
  const release = (await hold(browser.namespace))()
  stop.abort()
  await new Promise((resolve) => setTimeout(resolve, 500))
  const closed = close.mock.calls.length
  await release()
  await outcome
  expect(closed).toBeGreaterThan(0)
})

test('a sign-in that is given up as the page leaves says so though storage is held', async () => {
  const browser = createBrowser(createFakeNetwork())
  openPage(`${APP}/`)
  const client = browser.openClient()
  await client.initialize()
  const stop = new AbortController()
  const holder = await hold(browser.namespace)
  let release: (() => Promise<void>) | undefined
  client.on('progress', ({ step, phase }) => {
    if (step !== 'redirect' || phase !== 'start') return
    release = holder()
    stop.abort()
  })
  const outcome = client.signIn(ALICE.handle, { signal: stop.signal }).catch(({ name }) => name)
  const first = await soon(outcome)
  await release?.()
  expect(first).toBe('AbortError')
})

test('a second answer on one page that is none of ours does not stand for the first', async () => {
  const browser = createBrowser(createFakeNetwork())
  const { url } = await browser.openClient().authorize(ALICE.handle)
  const page = openPage(browser.network.approve(url))
  const client = browser.openClient()
  await client.initialize()
  ;(page as { url: URL }).url = new URL(
    `${page.url.origin}${page.url.pathname}#error=access_denied&state=cut-off`,
  )
  await expect(client.handleCallback()).rejects.toMatchObject({ code: 'callback_invalid' })
})
