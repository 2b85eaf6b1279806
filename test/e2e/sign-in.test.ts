import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { engines, useBrowser } from '../engines/index.ts'
import type { Site } from '../engines/serve.ts'
import { type Account, countRounds, type Network } from '../network/network.ts'
import { answerSignIn } from '../network/sign-in-page.ts'
import { startNetworkProcess } from '../network/start.ts'
import { accountOf, open, outcome, request, requestsOf, serveApp, signIn } from './app.ts'

/** Requests that are sent together have to overlap to count as one round. */
const latencyMs = 80

let network: Network
let app: Site
let alice: Account
let bob: Account
let carol: Account

beforeAll(async () => {
  network = await startNetworkProcess()
  app = await serveApp(network)
  await network.setLatency(latencyMs)
  alice = accountOf(network, 'alice.test')
  bob = accountOf(network, 'bob.test')
  carol = accountOf(network, 'carol.test')
})
afterAll(async () => {
  await app?.close()
  await network?.stop()
})

describe.each(engines)('$name', (engine) => {
  const inContext = useBrowser(engine)

  test('signs in by handle in four rounds to the sign-in page and two after it, with only client_id and request_uri in the address (PAR-01, PRM-06, LOOP-03, LOOP-04, LOOP-07, CB-09)', () =>
    inContext(async (context) => {
      const page = await context.newPage()
      expect(await open(page, `${app.origin}/notes/new`)).toEqual({})
      await network.log.clear()
      await page.start(
        (handle) => window.app.client.signIn(handle, { appState: { draft: 'hello' } }),
        alice.handle,
      )
      const front = new URL(await page.waitUrl(/\/oauth\/authorize\?/))
      expect(front.origin).toBe(alice.pds)
      expect([...front.searchParams.keys()].sort()).toEqual(['client_id', 'request_uri'])
      const clientId = new URL(front.searchParams.get('client_id') ?? '')
      expect(clientId.origin + clientId.pathname).toBe('http://localhost/')
      expect(Object.fromEntries(clientId.searchParams)).toEqual({
        redirect_uri: 'http://127.0.0.1/notes/new',
        scope: 'atproto transition:generic',
      })
      const leaving = await requestsOf(network, app)
      expect(leaving.filter(({ preflight }) => preflight)).toEqual([])
      expect(countRounds(leaving)).toBeLessThanOrEqual(4)

      await network.log.clear()
      await answerSignIn(page, alice)
      await page.waitUrl(/\/notes\/new/)
      expect(await outcome(page)).toEqual({ did: alice.did, appState: { draft: 'hello' } })
      expect(await page.url()).toBe(`${app.origin}/notes/new`)
      expect(await page.eval(() => window.app.client.session?.account)).toMatchObject({
        did: alice.did,
        handle: alice.handle,
        pds: alice.pds,
        issuer: alice.pds,
        scope: 'atproto transition:generic',
        status: 'active',
        current: true,
      })
      const arriving = await requestsOf(network, app)
      expect(arriving.filter(({ path, preflight }) => path === '/oauth/token' && !preflight)).toHaveLength(1)
      expect(countRounds(arriving)).toBeLessThanOrEqual(2)
      expect(await request(page)).toBe('200')
    }))

  test('signs in by DID, in one round to the sign-in page after prefetch', () =>
    inContext(async (context) => {
      const page = await context.newPage()
      await open(page, app.origin)
      await page.eval((did) => window.app.client.prefetch(did), bob.did)
      await network.log.clear()
      await page.start((did) => window.app.client.signIn(did), bob.did)
      await page.waitUrl(/\/oauth\/authorize\?/)
      const leaving = await requestsOf(network, app)
      expect(leaving.map(({ method, path }) => [method, path])).toEqual([['POST', '/oauth/par']])
      await answerSignIn(page, bob)
      await page.waitUrl(/127\.0\.0\.1/)
      expect(await outcome(page)).toMatchObject({ did: bob.did })
      expect(await page.waitFor(() => window.app.client.session?.account.handle)).toBe(bob.handle)
    }))

  test('signs in by the address of a server, where the person says who they are (DID-14)', () =>
    inContext(async (context) => {
      const page = await context.newPage()
      await open(page, app.origin)
      await network.log.clear()
      await page.start((server) => window.app.client.signIn(server), network.origins.pds2)
      await page.waitUrl(/\/oauth\/authorize\?/)
      expect(countRounds(await requestsOf(network, app))).toBeLessThanOrEqual(4)
      await answerSignIn(page, carol)
      await page.waitUrl(/127\.0\.0\.1/)
      expect(await outcome(page)).toMatchObject({ did: carol.did })
      expect(await page.waitFor(() => window.app.client.session?.account.handle)).toBe(carol.handle)
      expect(await request(page)).toBe('200')
    }))

  test('keeps whoever was signed in when a second sign-in is denied at the server (CB-05)', () =>
    inContext(async (context) => {
      const page = await context.newPage()
      await open(page, app.origin)
      await signIn(page, network, alice)
      await network.log.clear()
      await page.start((handle) => window.app.client.signIn(handle, { appState: 'second' }), carol.handle)
      await answerSignIn(page, { ...carol, decision: 'Deny access' })
      await page.waitUrl(/127\.0\.0\.1/)
      expect(await outcome(page)).toEqual({
        code: 'authorization_refused',
        oauthError: 'access_denied',
        appState: 'second',
      })
      expect(await page.url()).toBe(`${app.origin}/`)
      expect(await network.log.entries({ path: '/oauth/token' })).toEqual([])
      const accounts = await page.eval(() =>
        window.app.client.accounts.map(({ did, current }) => [did, current]),
      )
      expect(accounts).toEqual([[alice.did, true]])
      expect(await request(page)).toBe('200')
    }))

  test.each([
    ['fragment', '/?view=thread', (answer: URLSearchParams) => `/?view=thread#${answer}`],
    ['query', '/?view=thread#replies', (answer: URLSearchParams) => `/?view=thread&${answer}#replies`],
  ])(
    'takes an answer in the %s out of the address bar and the history, and leaves what is the app’s own (CB-09)',
    (_mode, kept, place) =>
      inContext(async (context) => {
        const page = await context.newPage()
        await open(page, app.origin)
        const url = await page.eval(
          async (handle) => (await window.app.client.authorize(handle)).url,
          alice.handle,
        )
        const callback = new URL(await network.authorize(url, alice))
        const answer = new URLSearchParams(callback.search || callback.hash.slice(1))
        expect([...answer.keys()].sort()).toEqual(['code', 'iss', 'state'])
        await page.goto(`${app.origin}/blank`)
        await page.goto(app.origin + place(answer))
        expect(await outcome(page)).toMatchObject({ did: alice.did })
        expect(await page.url()).toBe(app.origin + kept)
        await page.back()
        await page.waitUrl(/blank/)
        await page.start(() => history.forward())
        await page.waitUrl(/thread/)
        expect(await outcome(page)).toMatchObject({ did: alice.did })
        expect(await page.url()).toBe(app.origin + kept)
      }),
  )

  test('moves a page opened on localhost to 127.0.0.1 before it stores anything (LOOP-06)', () =>
    inContext(async (context) => {
      const page = await context.newPage()
      const localhost = app.origin.replace('127.0.0.1', 'localhost')
      await page.goto(`${app.origin}/blank`)
      await network.log.clear()
      await page.start((url) => location.assign(url), `${localhost}/notes?open=1#last`)
      expect(await page.waitUrl(/127\.0\.0\.1.*notes/)).toBe(`${app.origin}/notes?open=1#last`)
      expect(await outcome(page)).toEqual({})
      expect(await requestsOf(network, app)).toEqual([])
      expect(await page.eval(async () => (await indexedDB.databases()).length)).toBe(1)
      await page.goto(`${localhost}/blank`)
      expect(await page.eval(() => location.hostname)).toBe('localhost')
      expect(
        await page.eval(async () => [await indexedDB.databases(), localStorage.length, document.cookie]),
      ).toEqual([[], 0, ''])
    }))

  test('signs in and makes requests on a device whose clock is an hour late (F09)', () =>
    inContext(async (context) => {
      const page = await context.newPage()
      app.clockOffset = -3_600_000
      await open(page, app.origin)
      app.clockOffset = 0
      expect(await page.eval((now) => now - Date.now(), Date.now())).toBeGreaterThan(3_500_000)
      await signIn(page, network, alice)
      expect(await request(page)).toBe('200')
    }))

  test('leaves an answer alone that belongs to a sign-in of another profile (K14)', () =>
    inContext(async (context) => {
      const page = await context.newPage()
      await open(page, app.origin)
      const url = await page.eval(
        async (handle) => (await window.app.client.authorize(handle)).url,
        bob.handle,
      )
      const callback = await network.authorize(url, bob)
      await network.log.clear()
      await inContext(async (other) => {
        const stranger = await other.newPage()
        expect(await open(stranger, callback)).toMatchObject({ code: 'authorization_unknown' })
        expect(await stranger.eval(() => window.app.client.status)).toBe('signed-out')
      })
      expect(await network.log.entries({ path: '/oauth/token' })).toEqual([])
      await page.goto(`${app.origin}/blank`)
      expect(await open(page, callback)).toMatchObject({ did: bob.did })
    }))
})
