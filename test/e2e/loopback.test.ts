import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { engines, useBrowser } from '../engines/index.ts'
import { type Site, serve } from '../engines/serve.ts'

describe.each(engines)('$name', (engine) => {
  const inContext = useBrowser(engine)
  let app: Site
  beforeAll(async () => {
    app = await serve()
  })
  afterAll(() => app.close())

  test('a page on localhost moves to the loopback address and leaves nothing behind (LOOP-06)', () =>
    inContext(async (context) => {
      const page = await context.newPage()
      const localhost = app.origin.replace('127.0.0.1', 'localhost')
      await page.goto(`${localhost}/app?tab=1#part`)
      await page.waitFor(() => typeof window.signet === 'object')
      await page.start(() => window.signet.createOAuthClient().initialize())
      expect(await page.waitUrl(/127\.0\.0\.1/)).toBe(`${app.origin}/app?tab=1#part`)

      await page.goto(localhost)
      const stored = await page.eval(async () => ({
        databases: await indexedDB.databases(),
        items: localStorage.length + sessionStorage.length,
        cookie: document.cookie,
      }))
      expect(stored).toEqual({ databases: [], items: 0, cookie: '' })
    }))
})
