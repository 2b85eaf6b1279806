import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { engines, type Page } from '../engines/index.ts'
import type { Site } from '../engines/serve.ts'
import type { Account, Network } from '../network/network.ts'
import { startNetworkProcess } from '../network/start.ts'
import {
  accountOf,
  answer,
  open,
  outcome,
  request,
  serveApp,
  signIn,
  signOutAll,
  startRequest,
  useContext,
} from './app.ts'

const refreshing = { grantType: 'refresh_token' }

let network: Network
let app: Site
let alice: Account
let bob: Account

beforeAll(async () => {
  network = await startNetworkProcess()
  app = await serveApp(network)
  alice = accountOf(network, 'alice.test')
  bob = accountOf(network, 'bob.test')
})
afterAll(async () => {
  await app?.close()
  await network?.stop()
})

const statusOf = (tab: Page) => tab.eval(() => window.app.client.status)

describe.each(engines)('$name', (engine) => {
  const shared = useContext(engine)
  const tabs: Page[] = []
  afterEach(async () => {
    for (const tab of tabs.splice(0)) if (!(await tab.isClosed())) await tab.close()
  })

  async function newTab(): Promise<Page> {
    const tab = await shared.context.newPage()
    tabs.push(tab)
    return tab
  }

  async function openTab(): Promise<Page> {
    const tab = await newTab()
    await open(tab, app.origin)
    return tab
  }

  /** A tab in which nobody is signed in. */
  async function openSignedOut(): Promise<Page> {
    const tab = await openTab()
    await signOutAll(tab)
    return tab
  }

  /** Two tabs that use alice's session. */
  async function openTabs(): Promise<[Page, Page]> {
    const one = await openSignedOut()
    await signIn(one, network, alice)
    return [one, await openTab()]
  }

  /** The same, with an access token whose time is up. */
  async function openTabsWithExpiredToken(): Promise<[Page, Page]> {
    await network.setTokenLifetime(2)
    const opened = await openTabs()
    await network.setTokenLifetime(3600)
    for (const tab of opened) {
      await tab.waitFor(() => Date.now() > (window.app.client.session?.expiresAt ?? Number.NaN))
    }
    await network.log.clear()
    return opened
  }

  test('makes one token request for two tabs that need a new token at the same time (REF-04)', async () => {
    const [one, two] = await openTabsWithExpiredToken()
    const hold = await network.hold(refreshing)
    await startRequest(one)
    await hold.held
    await startRequest(two)
    await two.waitFor(() => window.app.client.session?.status === 'refreshing')
    await hold.release()
    expect(await answer(one)).toBe('200')
    expect(await answer(two)).toBe('200')
    expect(await network.log.entries(refreshing)).toMatchObject([{ status: 200 }])
  })

  test('lets a tab use the tokens that another tab has fetched meanwhile (REF-04)', async () => {
    const [one, two] = await openTabsWithExpiredToken()
    expect(await request(one)).toBe('200')
    expect(await request(two)).toBe('200')
    await one.close()
    expect(await request(two)).toBe('200')
    expect(await network.log.entries(refreshing)).toHaveLength(1)
  })

  test('knows in every other tab that a tab was closed in the middle of its refresh, and says so (I04)', async () => {
    const [one, two] = await openTabsWithExpiredToken()
    const hold = await network.hold(refreshing)
    await startRequest(one)
    await hold.held
    await one.close()
    await hold.drop()
    expect(await request(two)).toBe('session_ended')
    expect(await two.eval(() => window.app.client.session?.status)).toBe('rotation_lost')
    await two.reload()
    await outcome(two)
    expect(await two.eval(() => window.app.client.accounts.map(({ status }) => status))).toEqual([
      'rotation_lost',
    ])
    const entries = await network.log.entries(refreshing)
    expect(entries.filter(({ status }) => status === 200)).toEqual([])
  })

  test('signs out in all tabs, whose requests then fail without asking the server (REV-06, L05)', async () => {
    const [one, two] = await openTabs()
    expect(await request(two)).toBe('200')
    await two.eval(() => Reflect.set(window, 'kept', window.app.client.session))
    await one.eval(async () => window.app.client.signOut())
    await two.waitFor(() => window.app.client.status === 'signed-out')
    await network.log.clear()
    const code = await two.eval(() => {
      const session: typeof window.app.client.session = Reflect.get(window, 'kept')
      return session?.fetch('/xrpc/com.atproto.server.getSession').then(
        () => 'sent',
        (error) => error.code,
      )
    })
    expect(code).toBe('session_ended')
    expect(await network.log.entries()).toEqual([])
  })

  test('stays signed out when a tab was refreshing at that moment, and has those tokens revoked, too (L06)', async () => {
    const [one, two] = await openTabs()
    expect(await request(two)).toBe('200')
    const hold = await network.hold(refreshing)
    await two.start(() => window.app.client.session?.refresh())
    await hold.held
    await network.log.clear()
    await one.eval(async () => window.app.client.signOut())
    await hold.release()
    await network.log.waitFor({ path: '/oauth/revoke' }, { count: 2 })
    await two.waitFor(() => window.app.client.status === 'signed-out')
    await two.reload()
    expect(await outcome(two)).toEqual({})
  })

  test('leaves a tab with the account it uses when somebody else signs in in another (L07)', async () => {
    const [one, two] = await openTabs()
    await signIn(two, network, bob)
    await one.waitFor(() => window.app.client.accounts.length === 2)
    expect(await one.eval(() => window.app.client.session?.did)).toBe(alice.did)
    expect(await two.eval(() => window.app.client.session?.did)).toBe(bob.did)
  })

  test('redeems a callback once that is open in two tabs (CB-02, G05)', async () => {
    const [one, two] = [await openSignedOut(), await newTab()]
    const url = await one.eval(
      async (handle) => (await window.app.client.authorize(handle)).url,
      alice.handle,
    )
    const callback = await network.authorize(url, alice)
    await network.log.clear()
    const hold = await network.hold({ path: '/oauth/token' })
    await one.goto(`${app.origin}/blank`)
    await one.start((url) => location.assign(url), callback)
    await hold.held
    expect(await open(two, callback)).toMatchObject({ code: 'authorization_unknown' })
    await hold.release()
    expect(await outcome(one)).toMatchObject({ did: alice.did })
    expect(await network.log.entries({ path: '/oauth/token' })).toMatchObject([{ status: 200 }])

    await one.goto(`${app.origin}/blank`)
    expect(await open(one, callback)).toMatchObject({ did: alice.did })
    expect(await network.log.entries({ path: '/oauth/token' })).toHaveLength(1)
    expect(await request(one)).toBe('200')
  })

  test('redeems a callback once when what handles it is mounted twice (CB-02, G05)', async () => {
    const page = await openSignedOut()
    const url = await page.eval(
      async (handle) => (await window.app.client.authorize(handle)).url,
      alice.handle,
    )
    const callback = await network.authorize(url, alice)
    await network.log.clear()
    const mounted = await page.eval(async (callback) => {
      const { client, options } = window.app
      const outcomes = await Promise.allSettled([
        client.handleCallback(callback),
        client.handleCallback(callback),
        window.signet.createOAuthClient(options).handleCallback(callback),
      ])
      return outcomes.map((each) => (each.status === 'fulfilled' ? each.value.did : each.reason.code))
    }, callback)
    expect(mounted).toEqual([alice.did, alice.did, 'authorization_unknown'])
    expect(await network.log.entries({ path: '/oauth/token' })).toMatchObject([{ status: 200 }])
    expect(await request(page)).toBe('200')
  })

  test('is signed out on a page that comes back out of the history after that happened elsewhere (O09)', async () => {
    const [one, two] = await openTabs()
    await two.goto(`${app.origin}/blank`)
    await one.eval(async () => window.app.client.signOut())
    await two.back()
    await two.waitFor(() => window.app.client.status === 'signed-out')
    expect(await statusOf(two)).toBe('signed-out')
  })

  test('keeps no other tab waiting when it leaves in the middle of a write (L03)', async () => {
    const [one, two] = await openTabs()
    await two.start(
      ({ url, did }) => {
        for (let delay = 0; delay < 30; delay++) setTimeout(() => window.app.client.switchAccount(did), delay)
        location.assign(url)
      },
      { url: `${app.origin}/blank`, did: alice.did },
    )
    await two.waitUrl(/blank/)
    await one.start(() => {
      const { app } = window
      void app.client.signOut().then(() => {
        app.answer = 'signed out'
      })
    })
    expect(await answer(one)).toBe('signed out')
    await two.back()
    await two.waitFor(() => window.app.client.status === 'signed-out')
  })
})
