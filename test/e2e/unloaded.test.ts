import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'
import { engines, type Page, useBrowser } from '../engines/index.ts'
import type { Site } from '../engines/serve.ts'
import type { Account, Network } from '../network/network.ts'
import { startNetworkProcess } from '../network/start.ts'
import { accountOf, open, request, serveApp, signIn } from './app.ts'

let network: Network
let app: Site
let alice: Account
/** Whether the code that signs people in can be had: a page may outlive its deployment, or the network be away. */
let deployed = true

beforeAll(async () => {
  network = await startNetworkProcess()
  const assets = join(inject('fixture'), 'assets')
  const chunk = readdirSync(assets).find((name) => /^sign-in.*\.js$/.test(name)) ?? ''
  const code = readFileSync(join(assets, chunk))
  app = await serveApp(network, {
    pages: {
      [`/assets/${chunk}`]: (_request, response) => {
        if (!deployed) return void response.destroy()
        response.writeHead(200, { 'content-type': 'text/javascript' })
        response.end(code)
      },
    },
  })
  alice = accountOf(network, 'alice.test')
})
beforeEach(() => {
  deployed = true
})
afterAll(async () => {
  await app?.close()
  await network?.stop()
})

/** What a call of the client on the page comes to. */
const attempt = (page: Page, call: 'signIn' | 'authorize' | 'prefetch') =>
  page.eval(
    async ([call, handle]) => {
      try {
        await window.app.client[call](handle)
        return 'done'
      } catch (error) {
        return (error as { code?: string }).code ?? String(error)
      }
    },
    [call, alice.handle] as const,
  )

describe.each(engines)('$name', (engine) => {
  const inContext = useBrowser(engine)

  test('says so when the code that signs people in cannot be loaded, and works in a new tab', () =>
    inContext(async (context) => {
      const page = await context.newPage()
      await open(page, app.origin)
      deployed = false
      expect(await attempt(page, 'signIn')).toBe('module_failed')
      expect(await attempt(page, 'authorize')).toBe('module_failed')
      expect(await attempt(page, 'prefetch')).toBe('done')
      deployed = true
      // Firefox remembers what could not be loaded until the page is reloaded, WebKit until its tab is closed.
      const next = await context.newPage()
      expect(await open(next, app.origin)).toEqual({})
      await signIn(next, network, alice)
      expect(await request(next)).toBe('200')
    }))

  test('closes the window of a popup sign-in then', () =>
    inContext(async (context) => {
      const page = await context.newPage()
      await open(page, app.origin)
      deployed = false
      await page.eval((handle) => {
        const button = document.createElement('button')
        button.textContent = 'Sign in'
        button.onclick = () => {
          const { open } = window
          window.open = (...parameters) => {
            const popup = open.apply(window, parameters)
            Reflect.set(window, 'popup', popup)
            return popup
          }
          window.app.client.signInWithPopup(handle).catch(({ code }) => {
            window.app.answer = code
          })
        }
        document.body.append(button)
      }, alice.handle)
      await page.click('button', 'Sign in')
      expect(await page.waitFor(() => window.app.answer)).toBe('module_failed')
      expect(await page.waitFor(() => (Reflect.get(window, 'popup') as Window).closed)).toBe(true)
    }))
})
