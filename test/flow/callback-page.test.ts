import { setImmediate as macrotask } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { OAuthClientOptions } from '../../src/index.ts'
import { createTestClient } from '../support/client.ts'
import {
  ALICE,
  APP,
  at,
  CLIENT_ID,
  createFakeNetwork,
  EVIL,
  editCallback,
  type FakeNetwork,
  PDS,
  REDIRECT_URI,
} from '../support/network.ts'
import { useDisk } from './disk.ts'
import { failureOf } from './failure.ts'
import { openPage, PageDocument } from './page.ts'

const disk = useDisk()
let network: FakeNetwork
beforeEach(() => {
  network = createFakeNetwork()
})
afterEach(() => network.assertClean())

const OAUTH = /\b(state|iss|code|error|error_description|response)=/

/** A browser that was sent away by one page, and comes back to another. */
async function leave(options: OAuthClientOptions = {}, appState?: unknown): Promise<string> {
  const client = createTestClient(network, { storage: 'auto', ...options })
  const { url } = await client.authorize(ALICE.handle, { appState })
  client.close()
  return network.approve(url)
}

const load = (options: OAuthClientOptions = {}) => createTestClient(network, { storage: 'auto', ...options })

/** Metadata that is fetched, so that the redirect URI is not known when the page starts. */
const fetched: OAuthClientOptions = { clientMetadata: CLIENT_ID }
const loopback = {
  redirectUri: 'http://127.0.0.1:5173/cb',
  clientMetadata: undefined,
} as unknown as OAuthClientOptions

describe('the address bar', () => {
  test('is rid of the answer before initialize() returns (CB-09, G17)', async () => {
    const page = openPage(await leave())
    const ready = load().initialize()
    const { href } = page.url
    expect((await ready)?.did).toBe(ALICE.did)
    expect(href).toBe(REDIRECT_URI)
  })

  test.each([
    ['given', {}],
    ['fetched', fetched],
    ['that of a loopback client', loopback],
  ])(
    'is rid of the answer before any later task runs, the client metadata being %s (CB-09, G17)',
    async (_name, options) => {
      const page = openPage(await leave(options))
      const ready = load(options).initialize()
      await macrotask()
      const { href } = page.url
      expect((await ready)?.did).toBe(ALICE.did)
      expect(href).not.toMatch(OAUTH)
    },
  )

  test.each([
    ['fragment', '?x=1&y=a%20b', ''],
    ['query', '?x=1', '#y'],
    ['query', '', '#/route?a=b'],
  ])('keeps what belongs to the app beside a %s: %s%s (CB-09)', async (mode, search, hash) => {
    const callback = await leave()
    const { hash: answer } = new URL(callback)
    const query = mode === 'query' ? `${search ? `${search}&` : '?'}${answer.slice(1)}` : search
    const page = openPage(REDIRECT_URI + query + (mode === 'query' ? hash : answer))
    await load().initialize()
    expect(page.url.pathname).toBe('/callback')
    expect([...page.url.searchParams]).toEqual([...new URLSearchParams(search)])
    expect(page.url.hash).toBe(hash)
    expect(page.entries).toBe(0)
  })

  test.each([
    ['given', {}],
    ['fetched', fetched],
  ])(
    'is read beside a query of the app, the client metadata being %s (CB-09, CB-10)',
    async (_name, options) => {
      const page = openPage((await leave(options)).replace('#', '?utm_source=letter#'))
      expect((await load(options).initialize())?.did).toBe(ALICE.did)
      expect(page.url.href).toBe(`${REDIRECT_URI}?utm_source=letter`)
    },
  )

  test('is rid of a refusal too (CB-09)', async () => {
    const callback = editCallback(await leave(), {
      code: null,
      error: 'access_denied',
      error_description: 'No',
    })
    const page = openPage(callback)
    const error = await failureOf(network, load().initialize())
    expect(error).toMatchObject({ code: 'authorization_refused' })
    expect(page.url.href).toBe(REDIRECT_URI)
  })

  test('is rid of the answer by handleCallback() too (CB-09)', async () => {
    const page = openPage(await leave())
    const ready = load().handleCallback()
    expect(page.url.href).toBe(REDIRECT_URI)
    await ready
  })
})

describe('a page that is no callback', () => {
  test.each([
    ['another route', `${APP}/settings`],
    ['another redirect URI', `${APP}/other-callback`],
    ['the root', `${APP}/`],
  ])('leaves an answer that landed on it alone: %s (CB-10)', async (_name, address) => {
    const callback = await leave()
    const page = openPage(callback.replace(REDIRECT_URI, address))
    const client = load({ redirectUri: REDIRECT_URI })
    expect(await client.initialize()).toBeUndefined()
    expect(page.url.href).toMatch(OAUTH)
    expect(network.count(at.token)).toBe(0)
    expect((await client.handleCallback(callback)).did).toBe(ALICE.did)
  })

  test.each(['?code=coupon', '#code=coupon&iss=app', '?state=open', '#access_token=token', '?error=404'])(
    'has parameters of its own: %s (CB-01, CB-11, G01)',
    async (parameters) => {
      const callback = await leave()
      const page = openPage(REDIRECT_URI + parameters)
      const client = load()
      expect(await client.initialize()).toBeUndefined()
      expect(client.status).toBe('signed-out')
      expect(page.url.href).toBe(REDIRECT_URI + parameters)
      expect((await client.handleCallback(callback)).did).toBe(ALICE.did)
    },
  )

  test('begins no sign-in because of its address (P07)', async () => {
    const page = openPage(`${APP}/?login=${EVIL}&handle=alice.handles.dev&server=${PDS}&prompt=login`)
    const client = load()
    expect(await client.initialize()).toBeUndefined()
    expect(network.log).toEqual([])
    expect(page.navigations).toEqual([])
  })
})

describe('a page that nobody looks at yet', () => {
  test('waits with the code until it is activated (G18)', async () => {
    const document = new PageDocument()
    document.prerendering = true
    const waiting = Promise.withResolvers<void>()
    const listen = document.addEventListener.bind(document)
    document.addEventListener = (type, ...rest) => {
      listen(type, ...rest)
      if (type === 'prerenderingchange') waiting.resolve()
    }
    const callback = await leave()
    vi.stubGlobal('document', document)
    openPage(callback)
    const requests = network.log.length
    const ready = load().initialize()
    await waiting.promise
    await macrotask()
    expect(network.log).toHaveLength(requests)
    document.prerendering = false
    document.dispatchEvent(new Event('prerenderingchange'))
    expect((await ready)?.did).toBe(ALICE.did)
    expect(network.count(at.exchange)).toBe(1)
  })
})

describe('state of the app', () => {
  test('is data: nobody is sent to a URL in it (CB-13)', async () => {
    const page = openPage(`${await leave({}, `${EVIL}/next`)}&redirect=${EVIL}&returnTo=${EVIL}`)
    const session = await load().initialize()
    expect(session?.appState).toBe(`${EVIL}/next`)
    expect(page.navigations).toEqual([])
    expect(network.count(at.evil)).toBe(0)
  })
})

describe('leaving', () => {
  test('sends the page itself to the server, and makes no frame (CB-16, PAR-01)', async () => {
    const document = new PageDocument()
    vi.stubGlobal('document', document)
    const page = openPage(`${APP}/`)
    void load().signIn(ALICE.handle)
    const url = new URL(await page.left)
    expect([...url.searchParams.keys()].sort()).toEqual(['client_id', 'request_uri'])
    expect(page.navigations).toHaveLength(1)
    expect(document.elements).toEqual([])
  })

  test('is not left when the app gives up at the last moment, and nothing waits for an answer (U04)', async () => {
    const page = openPage(`${APP}/`)
    const client = load()
    const stop = new AbortController()
    client.on('progress', ({ step, phase }) => {
      if (step === 'redirect' && phase === 'start') stop.abort()
    })
    await expect(client.signIn(ALICE.handle, { signal: stop.signal })).rejects.toMatchObject({
      name: 'AbortError',
    })
    expect(page.navigations).toEqual([])
    expect(await disk.read('authorizations')).toEqual(new Map())
  })

  test('for a sign-up names the server and nobody (REQ-11)', async () => {
    const page = openPage(`${APP}/`)
    void load().signUp(PDS)
    await page.left
    const { form } = network.requests(at.par)[0] ?? {}
    expect(form).toMatchObject({ prompt: 'create' })
    expect(form).not.toHaveProperty('login_hint')
  })

  test('asks to come back to this page, if that is a redirect URI (REQ-02)', async () => {
    openPage(`${APP}/other-callback?x=1`)
    await load().authorize(ALICE.handle)
    expect(network.requests(at.par)[0]?.form.redirect_uri).toBe(`${APP}/other-callback`)
  })
})
