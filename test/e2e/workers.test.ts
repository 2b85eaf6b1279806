import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Engine, engines, type Page } from '../engines/index.ts'
import type { Site } from '../engines/serve.ts'
import type { Account, Network } from '../network/network.ts'
import { startNetworkProcess } from '../network/start.ts'
import { accountOf, open, outcome, request, serveApp, signIn, useContext } from './app.ts'
import { bundleWorker } from './worker/bundle.ts'

type Kind = 'dedicated' | 'shared' | 'service'

let network: Network
let app: Site
let alice: Account

beforeAll(async () => {
  network = await startNetworkProcess()
  const script = await bundleWorker('client')
  app = await serveApp(network, {
    pages: {
      '/worker.js': (_request, response) => {
        response.setHeader('content-type', 'text/javascript')
        response.end(script)
      },
    },
  })
  alice = accountOf(network, 'alice.test')
})
afterAll(async () => {
  await app?.close()
  await network?.stop()
})

/** A shared worker of stock WebKit reads a key out of storage as `null`. */
const canReadKeys = ({ name }: Engine, kind: Kind) => name !== 'webkit' || kind !== 'shared'

describe.each(engines)('$name', (engine) => {
  const context = useContext(engine)
  const pages: Page[] = []
  afterEach(async () => {
    for (const page of pages.splice(0)) await page.close()
  })

  test.each<Kind>(['dedicated', 'shared', 'service'])(
    'makes requests and refreshes in a %s worker, with the session that a page signed in',
    async (kind) => {
      const page = await context.context.newPage()
      pages.push(page)
      await open(page, app.origin)
      await signIn(page, network, alice)
      expect(await request(page)).toBe('200')
      const redirectUri = `${app.origin}/`
      await page.start(
        async ({ kind, did, redirectUri }) => {
          const options = { ...window.app.options, redirectUri }
          const { port1, port2 } = new MessageChannel()
          port1.onmessage = ({ data }) => Reflect.set(window, 'told', data)
          const question = { did, options }
          if (kind === 'dedicated') new Worker('/worker.js').postMessage(question, [port2])
          else if (kind === 'shared') new SharedWorker('/worker.js').port.postMessage(question, [port2])
          else {
            await navigator.serviceWorker.register('/worker.js')
            const { active } = await navigator.serviceWorker.ready
            active?.postMessage(question, [port2])
          }
        },
        { kind, did: alice.did, redirectUri },
      )
      const told = await page.waitFor(() => Reflect.get(window, 'told'))
      expect(told).toEqual(
        canReadKeys(engine, kind) ? { statuses: [200, 200], did: alice.did } : { code: 'session_not_found' },
      )
      // The page goes on with what the worker fetched, and so does the next one.
      expect(await request(page)).toBe('200')
      await page.reload()
      expect(await outcome(page)).toMatchObject({ did: alice.did })
      expect(await request(page)).toBe('200')
    },
  )
})
