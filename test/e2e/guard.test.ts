import { readFile } from 'node:fs/promises'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { engines, type Page } from '../engines/index.ts'
import type { Site } from '../engines/serve.ts'
import type { Account, LogEntry, Network } from '../network/network.ts'
import { startNetworkProcess } from '../network/start.ts'
import {
  accountOf,
  answer,
  open,
  outcome,
  request,
  serveApp,
  signIn,
  startRequest,
  useContext,
} from './app.ts'
import { bundleWorker } from './worker/bundle.ts'

const refreshing = { grantType: 'refresh_token' }

/** Knows nothing of refreshes, and says how often it was asked for one. */
const stranger = `let asked = 0
addEventListener('install', () => skipWaiting())
addEventListener('message', ({ data, ports: [port] }) => {
  if (data === 'asked') port.postMessage(asked)
  else asked++
})`

let network: Network
let alice: Account
let standalone: string
/** Stands in the script as a comment: another one makes another version of the worker. */
let version = 1
const sites: Site[] = []
const site = {} as Record<'guarded' | 'own' | 'updated' | 'strange' | 'unguarded', Site>

async function serveWorker(script?: () => string): Promise<Site> {
  const served = await serveApp(network, {
    pages: {
      '/service-worker.js': (_request, response) => {
        response.setHeader('content-type', 'text/javascript')
        response.setHeader('cache-control', 'no-store')
        response.end(script?.())
      },
    },
  })
  sites.push(served)
  return served
}

beforeAll(async () => {
  network = await startNetworkProcess()
  alice = accountOf(network, 'alice.test')
  standalone = await readFile(new URL('../../dist/service-worker/standalone.js', import.meta.url), 'utf8')
  const own = await bundleWorker('own')
  site.guarded = await serveWorker(() => standalone)
  site.own = await serveWorker(() => own)
  site.updated = await serveWorker(() => `${tellVersion(version)}\n${standalone}`)
  site.strange = await serveWorker(() => stranger)
  site.unguarded = await serveWorker()
})
afterAll(async () => {
  for (const { close } of sites) await close()
  await network?.stop()
})

const tellVersion = (version: number) =>
  `addEventListener('message', ({ data, ports: [port] }) => { if (data === 'version') port.postMessage(${version}) });`

async function register(page: Page): Promise<void> {
  await page.eval(async () => {
    await navigator.serviceWorker.register('/service-worker.js')
    await navigator.serviceWorker.ready
  })
}

/** What the active worker of the page answers. */
function ask(page: Page, question: string): Promise<number> {
  return page.eval(async (question) => {
    const { active } = await navigator.serviceWorker.ready
    const { port1, port2 } = new MessageChannel()
    const answered = new Promise<number>((resolve) => {
      port1.onmessage = ({ data }) => resolve(data)
    })
    active?.postMessage(question, [port2])
    return answered
  }, question)
}

const sent = (entries: LogEntry[]) => entries.map(({ refreshTokenHash }) => refreshTokenHash)

describe.each(engines)('$name', (engine) => {
  const shared = useContext(engine)
  const pages: Page[] = []
  afterEach(async () => {
    for (const page of pages.splice(0)) if (!(await page.isClosed())) await page.close()
  })

  async function openPage({ origin }: Site): Promise<Page> {
    const page = await shared.context.newPage()
    pages.push(page)
    await open(page, origin)
    return page
  }

  /** A page whose session has to have new tokens for its next request. */
  async function openExpired(site: Site): Promise<Page> {
    const page = await openPage(site)
    if (site !== sites.at(-1)) await register(page)
    await signIn(page, network, alice)
    // Brings a nonce, without which the server refuses the first refresh.
    await request(page)
    await network.setTokenLifetime(2)
    await page.eval(async () => window.app.client.session?.refresh())
    await network.setTokenLifetime(3600)
    await page.waitFor(() => Date.now() > (window.app.client.session?.expiresAt ?? Number.NaN))
    await network.log.clear()
    return page
  }

  /** Begins a request on such a page, whose refresh the server has done and not answered yet. */
  async function beginRefresh(page: Page) {
    const hold = await network.hold(refreshing)
    await startRequest(page)
    await hold.held
    return hold
  }

  /** Begins a request that has to wait for that refresh. */
  async function waitForIt(page: Page) {
    await startRequest(page)
    await page.waitFor(() => window.app.client.session?.status === 'refreshing')
  }

  test('loses nothing when its page is reloaded in the middle of a refresh (I04)', async () => {
    const page = await openExpired(site.guarded)
    const hold = await beginRefresh(page)
    for (let reloads = 2; reloads > 0; reloads--) {
      await page.reload()
      expect(await outcome(page)).toMatchObject({ did: alice.did })
      await waitForIt(page)
    }
    await hold.release()
    expect(await answer(page)).toBe('200')
    expect(await network.log.entries(refreshing)).toMatchObject([{ status: 200, outcome: 'answered' }])
    await page.eval(async () => window.app.client.session?.refresh())
    expect(await request(page)).toBe('200')
    expect(new Set(sent(await network.log.entries(refreshing))).size).toBe(2)
  })

  test('loses nothing when its page is closed in the middle of a refresh and another is opened (I04)', async () => {
    const closed = await openExpired(site.guarded)
    const hold = await beginRefresh(closed)
    await closed.close()
    const page = await openPage(site.guarded)
    await waitForIt(page)
    await hold.release()
    expect(await answer(page)).toBe('200')
    expect(await page.eval(() => window.app.client.session?.status)).toBe('active')
    expect(await network.log.entries(refreshing)).toMatchObject([{ status: 200, outcome: 'answered' }])
  })

  test('stores the tokens when no page is open any more (I04)', async () => {
    const closed = await openExpired(site.guarded)
    const hold = await beginRefresh(closed)
    await closed.close()
    await hold.release()
    expect(await network.log.waitFor(refreshing)).toMatchObject([{ status: 200, outcome: 'answered' }])
    const page = await openPage(site.guarded)
    expect(await request(page)).toBe('200')
    expect(await network.log.entries(refreshing)).toHaveLength(1)
  })

  test('is guarded by a service worker of the app that does other things, too (I04)', async () => {
    const page = await openExpired(site.own)
    await page.waitFor(() => navigator.serviceWorker.controller)
    expect(await page.eval(async () => (await fetch('/cached.txt')).text())).toBe('from the worker')
    const hold = await beginRefresh(page)
    await page.reload()
    expect(await outcome(page)).toMatchObject({ did: alice.did })
    await waitForIt(page)
    await hold.release()
    expect(await answer(page)).toBe('200')
    expect(await network.log.entries(refreshing)).toMatchObject([{ status: 200, outcome: 'answered' }])
  })

  test('is guarded on while the service worker is replaced in the middle of a refresh (I04)', async () => {
    version = 1
    const page = await openExpired(site.updated)
    expect(await ask(page, 'version')).toBe(1)
    const hold = await beginRefresh(page)
    version = 2
    await page.eval(async () => {
      const registration = await navigator.serviceWorker.ready
      const found = new Promise<ServiceWorker | null>((resolve) => {
        registration.onupdatefound = () => resolve(registration.installing)
      })
      void registration.update()
      const worker = await found
      await new Promise<void>((installed) => {
        const look = () => {
          if (worker?.state !== 'installing') installed()
        }
        worker?.addEventListener('statechange', look)
        look()
      })
    })
    await page.reload()
    await outcome(page)
    await startRequest(page)
    await hold.release()
    expect(await answer(page)).toBe('200')
    expect(await network.log.entries(refreshing)).toMatchObject([{ status: 200, outcome: 'answered' }])

    await page.waitFor(async () => {
      const { active, waiting } = await navigator.serviceWorker.ready
      return !waiting && active?.state === 'activated'
    })
    expect(await ask(page, 'version')).toBe(2)
    const next = await network.hold(refreshing)
    await page.start(() => window.app.client.session?.refresh())
    await next.held
    await page.reload()
    await outcome(page)
    await page.start(() => window.app.client.session?.refresh())
    await next.release()
    await page.waitFor(() => window.app.client.session?.status === 'active')
    expect(await request(page)).toBe('200')
    const hashes = sent(await network.log.entries(refreshing))
    expect(new Set(hashes).size).toBe(hashes.length)
  })

  test('refreshes by itself where a service worker does not know how, and asks that one no more', async () => {
    const page = await openExpired(site.strange)
    expect(await request(page)).toBe('200')
    await page.eval(async () => window.app.client.session?.refresh())
    expect(await request(page)).toBe('200')
    expect(await network.log.entries(refreshing)).toMatchObject([{ status: 200 }, { status: 200 }])
    expect(await ask(page, 'asked')).toBe(1)
  })

  test('knows what became of a refresh that a reload broke off where no service worker guards it (I04)', async () => {
    const page = await openExpired(site.unguarded)
    const hold = await beginRefresh(page)
    await page.reload()
    expect(await outcome(page)).toMatchObject({ did: alice.did })
    await hold.release()
    expect(['200', 'session_ended']).toContain(await request(page))
    expect(['active', 'rotation_lost']).toContain(await page.eval(() => window.app.client.session?.status))
    expect((await network.log.entries(refreshing)).length).toBeLessThanOrEqual(2)
  })
})
