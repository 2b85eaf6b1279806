import { afterAll, beforeAll } from 'vitest'
import type { OAuthClientOptions } from '../../src/index.ts'
import type { Context, Engine, Page } from '../engines/index.ts'
import { launch } from '../engines/launch.ts'
import type { Browser } from '../engines/page.ts'
import { type Site, type SiteOptions, serve } from '../engines/serve.ts'
import type { Account, ConnectedNetwork, LogEntry } from '../network/network.ts'
import type { Outcome } from './fixture/main.ts'

/** Serves the application as a loopback client of this network, in which every page load calls `initialize()`. */
export function serveApp(network: ConnectedNetwork, site: SiteOptions = {}): Promise<Site> {
  const options: OAuthClientOptions = {
    scope: 'atproto transition:generic',
    handleResolver: network.origins.pds1,
    plcDirectory: network.origins.plc,
    allowHttp: true,
  }
  return serve({
    ...site,
    pages: {
      '/options.json': (_request, response) => {
        response.setHeader('content-type', 'application/json')
        response.end(JSON.stringify(options))
      },
      '/blank': '<!doctype html><title>Blank</title>',
      ...site.pages,
    },
  })
}

export interface SharedContext {
  readonly browser: Browser
  readonly context: Context
}

/** One context for all tests of the surrounding `describe`: where a context is a browser, that is most of the time. */
export function useContext(engine: Engine): SharedContext {
  const shared = {} as { browser: Browser; context: Context }
  beforeAll(async () => {
    shared.browser = await launch(engine)
    shared.context = await shared.browser.newContext()
  })
  afterAll(() => shared.browser?.close())
  return shared
}

/** Opens a page of the application and returns what its `initialize()` came to. */
export async function open(page: Page, url: string): Promise<Outcome> {
  await page.goto(url)
  return outcome(page)
}

/** What `initialize()` of the page that is there, or on its way, came to. */
export function outcome(page: Page): Promise<Outcome> {
  return page.waitFor(() => window.app?.outcome)
}

/** Signs in on a page of the application without leaving it: somebody else answers the server's pages. */
export async function signIn(page: Page, network: ConnectedNetwork, account: Account): Promise<void> {
  const url = await page.eval(
    async (handle) => (await window.app.client.authorize(handle)).url,
    account.handle,
  )
  const callback = await network.authorize(url, account)
  await page.eval(async (url) => void (await window.app.client.handleCallback(url)), callback)
}

/** Forgets everybody who is signed in in the application, so that a test may begin. */
export async function signOutAll(page: Page): Promise<void> {
  await page.eval(async () => {
    const { client } = window.app
    for (const { did } of client.accounts) await client.signOut(did)
  })
}

/** Begins a request of the session in use. WebKit takes one command at a time, so nobody may wait for it. */
export function startRequest(page: Page): Promise<void> {
  return page.start(() => {
    const { app } = window
    delete app.answer
    app.client.session?.fetch('/xrpc/com.atproto.server.getSession').then(
      ({ status }) => {
        app.answer = String(status)
      },
      ({ code }) => {
        app.answer = code
      },
    )
  })
}

/** Status, or error code, of the request that was begun. */
export function answer(page: Page): Promise<string> {
  return page.waitFor(() => window.app.answer)
}

export async function request(page: Page): Promise<string> {
  await startRequest(page)
  return answer(page)
}

export function accountOf(network: ConnectedNetwork, handle: string): Account {
  const account = network.accounts.find((known) => known.handle === handle)
  if (!account) throw new Error(`There is no account ${handle}`)
  return account
}

/** What pages of the application asked of the network, preflights included. */
export function requestsOf(network: ConnectedNetwork, app: Site): Promise<LogEntry[]> {
  return network.log.entries({ from: app.origin, preflight: 'any' })
}
