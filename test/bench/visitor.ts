import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, Context, Page } from '../engines/page.ts'
import { type Account, type ConnectedNetwork, countRounds } from '../network/network.ts'
import type { Contender } from './contenders.ts'
import type {} from './page/page.ts'
import type { Site } from './site.ts'

/** What every measurement works on. */
export interface Stage {
  browser: Browser
  network: ConnectedNetwork
  site: Site
  alice: Account
  bob: Account
}

/** A person with one profile, and the app of one contender. */
export interface Visitor {
  readonly page: Page
  readonly url: string
  /** A new page of the app in place of all others. */
  open(url?: string): Promise<Page>
  newTab(url?: string): Promise<Page>
  /** Closes the browser and opens it again: what it kept in memory is gone. Needs the option `restarts`. */
  restart(): Promise<void>
  /** Signs in; the access token lives that many seconds, and those issued later an hour. */
  signIn(account: Account, lifetime?: number): Promise<void>
  /** Empties what a client keeps for some minutes only. */
  forgetCaches(): Promise<void>
}

export const PATH = '/xrpc/com.atproto.server.getSession'
const HOUR = 3600

export async function withVisitor<T>(
  { browser, network, site }: Stage,
  contender: Contender,
  visit: (visitor: Visitor) => Promise<T>,
  { restarts = false } = {},
): Promise<T> {
  const profile = restarts ? await mkdtemp(join(tmpdir(), 'signet-bench-profile-')) : undefined
  const newContext = () => browser.newContext(profile === undefined ? {} : { profile })
  let context: Context = await newContext()
  let pages: Page[] = []
  const visitor: Visitor = {
    get page() {
      const page = pages.at(-1)
      if (!page) throw new Error('No page is open')
      return page
    },
    url: `${site.origin}/${contender.name}.html`,
    async open(url) {
      const before = pages.splice(0)
      const page = await visitor.newTab(url)
      for (const other of before) await other.close()
      return page
    },
    async newTab(url = visitor.url) {
      const page = await context.newPage()
      pages.push(page)
      await page.goto(url)
      return page
    },
    async restart() {
      await context.close()
      pages = []
      context = await newContext()
    },
    async signIn(account, lifetime = HOUR) {
      const page = await visitor.open()
      const url = await page.eval((handle) => window.bench.authorize(handle), account.handle)
      const callback = await network.authorize(url, account)
      await network.setTokenLifetime(lifetime)
      const back = await visitor.open(callback)
      await back.eval(() => window.bench.start())
      // As an app would; the client knows a nonce of the server then.
      await request(back)
      await network.setTokenLifetime(HOUR)
    },
    async forgetCaches() {
      const page = await visitor.open(`${site.origin}/blank.html`)
      await page.eval(emptyCaches, contender.caches)
    },
  }
  try {
    return await visit(visitor)
  } finally {
    await context.close()
    if (profile) await rm(profile, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** Runs in the page. */
async function emptyCaches({ database, stores = [], item }: Contender['caches']): Promise<void> {
  if (item) localStorage.removeItem(item)
  if (!database) return
  const opening = indexedDB.open(database)
  await new Promise((done) => opening.addEventListener('success', done))
  const transaction = opening.result.transaction(stores, 'readwrite')
  for (const store of stores) transaction.objectStore(store).clear()
  await new Promise((done) => transaction.addEventListener('complete', done))
  opening.result.close()
}

/** Rounds of the app's requests that were over when `action` was, preflights included. */
export async function roundsOf({ network, site }: Stage, action: () => Promise<unknown>): Promise<number> {
  await network.log.clear()
  await action()
  const entries = await network.log.entries({ from: site.origin, preflight: 'any' })
  return countRounds(entries.filter(({ end }) => end !== undefined))
}

/** A request to the account's server; its status, or what was thrown. */
export function request(page: Page, path = PATH): Promise<number | string> {
  return page.eval((path) => window.bench.request(path).then(({ status }) => status, String), path)
}

/** Whether a new page can renew the tokens and use them. */
export async function survives(visitor: Visitor): Promise<boolean> {
  const page = await visitor.open()
  const renewed = await page.eval(() =>
    window.bench
      .start()
      .then(() => window.bench.refresh())
      .then(
        () => true,
        () => false,
      ),
  )
  return renewed && (await request(page)) === 200
}
