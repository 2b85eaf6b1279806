import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { engines, type Page, useBrowser } from '../engines/index.ts'
import { type Site, serve } from '../engines/serve.ts'
import type { Account, Network } from '../network/network.ts'
import { answerSignIn } from '../network/sign-in-page.ts'
import { startNetworkProcess } from '../network/start.ts'
import { accountOf, open, outcome, request, serveApp } from './app.ts'

let network: Network
let app: Site
let alice: Account
let carol: Account

beforeAll(async () => {
  network = await startNetworkProcess()
  app = await serveApp(network)
  alice = accountOf(network, 'alice.test')
  carol = accountOf(network, 'carol.test')
})
afterAll(async () => {
  await app?.close()
  await network?.stop()
})

/** Puts a button on the page that signs in by popup, and presses it. Resolves with the window that it opens. */
async function openPopup(page: Page, identifier: string): Promise<Page> {
  await page.eval((identifier) => {
    const button = document.createElement('button')
    button.textContent = 'Sign in'
    button.onclick = () => {
      const stop = new AbortController()
      Reflect.set(window, 'stop', () => stop.abort(new Error('stopped')))
      const { app } = window
      app.client.signInWithPopup(identifier, { appState: 'mine', signal: stop.signal }).then(
        (session) => {
          app.answer = session.did
        },
        (error) => {
          app.answer = error.oauthError ?? error.code ?? error.message
        },
      )
    }
    document.body.append(button)
  }, identifier)
  return page.popup(() => page.click('button', 'Sign in'))
}

const answer = (page: Page) => page.waitFor(() => window.app.answer)

/** Names of the records of a store of the client's database. */
const keysOf = (page: Page, store: string) =>
  page.eval(async (store) => {
    const opening = indexedDB.open('signet:default')
    await new Promise((done) => opening.addEventListener('success', done))
    const reading = opening.result.transaction(store).objectStore(store).getAllKeys()
    await new Promise((done) => reading.addEventListener('success', done))
    opening.result.close()
    return reading.result
  }, store)

describe.each(engines)('$name', (engine) => {
  const inContext = useBrowser(engine)

  test('signs in by popup though the server’s page cuts the tie to it, and closes it (CB-15, U03)', () =>
    inContext(async (context) => {
      const page = await context.newPage()
      await open(page, app.origin)
      const popup = await openPopup(page, alice.handle)
      await popup.waitUrl(/\/oauth\/authorize\?/)
      expect(await popup.eval(() => window.opener)).toBe(null)
      await answerSignIn(popup, alice)
      expect(await answer(page)).toBe(alice.did)
      expect(await page.eval(() => window.app.client.session?.did)).toBe(alice.did)
      expect(await request(page)).toBe('200')
      await expect.poll(() => popup.isClosed(), { timeout: 10_000 }).toBe(true)
      await page.reload()
      expect(await outcome(page)).toMatchObject({ did: alice.did })
    }))

  test('tells only its own origin, and not even that a token or a code (CB-14, STO-13, N09)', () =>
    inContext(async (context) => {
      const listener = `<!doctype html><script>
        heard = []
        onmessage = ({ data, ports: [asked] }) => asked ? asked.postMessage(heard) : heard.push(data)
        new BroadcastChannel('signet:default').onmessage = ({ data }) => heard.push(data)
      </script>`
      const foreign = await serve({ pages: { '/': listener } })
      const [page, stranger] = [await context.newPage(), await context.newPage()]
      await open(page, app.origin)
      await stranger.goto(foreign.origin)
      await page.eval((source) => {
        const frame = document.createElement('iframe')
        frame.src = source
        const heard: unknown[] = []
        Reflect.set(window, 'heard', heard)
        window.addEventListener('message', (event) => heard.push(event.data))
        new BroadcastChannel('signet:default').onmessage = (event) => heard.push(event.data)
        return new Promise<void>((done) => {
          frame.onload = () => done()
          document.body.append(frame)
        })
      }, foreign.origin)
      const popup = await openPopup(page, alice.handle)
      await answerSignIn(popup, alice)
      expect(await answer(page)).toBe(alice.did)

      const heard = await page.eval(() => Reflect.get(window, 'heard'))
      expect(heard).toContainEqual(expect.objectContaining({ type: 'authorized', did: alice.did }))
      const record = await page.eval(async (did) => {
        const opening = indexedDB.open('signet:default')
        await new Promise((done) => opening.addEventListener('success', done))
        const reading = opening.result
          .transaction('sessions')
          .objectStore('sessions')
          .get(IDBKeyRange.bound(`${did} `, `${did}!`))
        await new Promise((done) => reading.addEventListener('success', done))
        opening.result.close()
        return reading.result.record.tokens as { accessToken: string; refreshToken: string }
      }, alice.did)
      const text = JSON.stringify(heard)
      expect(record.refreshToken).toMatch(/^ref-/)
      for (const secret of [record.accessToken, record.refreshToken, 'cod-'])
        expect(text).not.toContain(secret)
      expect(await stranger.eval(() => Reflect.get(window, 'heard'))).toEqual([])
      const framed = await page.eval(() => {
        const { port1, port2 } = new MessageChannel()
        document.querySelector('iframe')?.contentWindow?.postMessage('', '*', [port2])
        return new Promise((answered) => {
          port1.onmessage = ({ data }) => answered(data)
        })
      })
      expect(framed).toEqual([])
      await foreign.close()
    }))

  test('hands a denial in the popup on to the page that opened it, and keeps nothing of it (CB-05)', () =>
    inContext(async (context) => {
      const page = await context.newPage()
      await open(page, app.origin)
      const popup = await openPopup(page, carol.handle)
      await answerSignIn(popup, { ...carol, decision: 'Deny access' })
      expect(await answer(page)).toBe('access_denied')
      expect(await page.eval(() => window.app.client.status)).toBe('signed-out')
      expect(await keysOf(page, 'authorizations')).toEqual([])
    }))

  test('can be called off while the server’s page is open, and its answer then counts for nothing (U04)', () =>
    inContext(async (context) => {
      const page = await context.newPage()
      await open(page, app.origin)
      const popup = await openPopup(page, alice.handle)
      const url = await popup.waitUrl(/\/oauth\/authorize\?/)
      expect(await keysOf(page, 'authorizations')).toHaveLength(1)
      await page.eval(() => Reflect.get(window, 'stop')())
      expect(await answer(page)).toBe('stopped')
      expect(await keysOf(page, 'authorizations')).toEqual([])
      await network.log.clear()
      const callback = await network.authorize(url, alice)
      await page.goto(`${app.origin}/blank`)
      expect(await open(page, callback)).toMatchObject({ code: 'authorization_unknown' })
      expect(await network.log.entries({ path: '/oauth/token' })).toEqual([])
    }))

  test('keeps the session when the page that opened the popup is gone (U05)', () =>
    inContext(async (context) => {
      const page = await context.newPage()
      await open(page, app.origin)
      const popup = await openPopup(page, carol.handle)
      await popup.waitUrl(/\/oauth\/authorize\?/)
      await page.goto(`${app.origin}/blank`)
      await network.log.clear()
      await answerSignIn(popup, carol)
      await network.log.waitFor({ path: '/oauth/token' })
      await expect.poll(async () => (await open(page, app.origin)).did, { timeout: 10_000 }).toBe(carol.did)
      expect(await network.log.entries({ path: '/oauth/revoke' })).toEqual([])
      expect(await request(page)).toBe('200')
    }))

  test('makes no frame, in which the server would not show its page anyway (CB-16)', () =>
    inContext(async (context) => {
      const page = await context.newPage()
      await open(page, app.origin)
      const url = await page.eval(async (handle) => {
        const made: string[] = []
        Reflect.set(window, 'made', made)
        new MutationObserver((records) => {
          for (const { addedNodes } of records) for (const node of addedNodes) made.push(node.nodeName)
        }).observe(document, { childList: true, subtree: true })
        const { client } = window.app
        return (await client.authorize(handle, { prompt: 'login' })).url
      }, alice.handle)
      expect(await page.eval(() => Reflect.get(window, 'made'))).not.toContain('IFRAME')
      await network.log.clear()
      await page.eval((url) => {
        const frame = document.createElement('iframe')
        frame.src = url
        document.body.append(frame)
      }, url)
      expect(await network.log.waitFor({ path: '/oauth/authorize' })).toMatchObject([{ status: 400 }])
    }))
})
