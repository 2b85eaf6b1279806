import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { engines, useBrowser } from '../engines/index.ts'
import { type Site, serve } from '../engines/serve.ts'

describe.each(engines)('$name', (engine) => {
  const inContext = useBrowser(engine)
  let app: Site
  let server: Site

  beforeAll(async () => {
    server = await serve({
      pages: {
        '/sign-in': (request, response) => {
          const back = new URL(request.url ?? '', server.origin).searchParams.get('back')
          response.end(
            `<!doctype html><form action="${back}"><input name="password"><button>Sign in</button></form>`,
          )
        },
        '/child': `<!doctype html><button onclick="opener.postMessage('hello', '*'); window.close()">Done</button>`,
      },
    })
    app = await serve({
      pages: {
        '/react': `<!doctype html><input id="field"><output></output><script>
          field.addEventListener('input', () => { document.querySelector('output').value = field.value })</script>`,
        '/opener': `<!doctype html><button onclick="child = window.open('${server.origin}/child', 'x')">Open</button>
          <script>onmessage = (event) => { answer = [event.data, event.origin] }; answer = null</script>`,
      },
    })
  })
  afterAll(() => Promise.all([app.close(), server.close()]))

  test('loads the built package', () =>
    inContext(async (context) => {
      const page = await context.newPage()
      await page.goto(app.origin)
      expect(await page.waitFor(() => typeof window.signet)).toBe('object')
    }))

  test('holds a lock in one tab until that tab closes', () =>
    inContext(async (context) => {
      const [one, two] = [await context.newPage(), await context.newPage()]
      await one.goto(app.origin)
      await two.goto(app.origin)
      await one.eval(
        () =>
          new Promise<void>((held) => {
            void navigator.locks.request('lock', () => {
              held()
              return new Promise(() => {})
            })
          }),
      )
      expect(
        await two.eval(() => navigator.locks.request('lock', { ifAvailable: true }, (lock) => !!lock)),
      ).toBe(false)
      await one.close()
      expect(await one.isClosed()).toBe(true)
      expect(await two.eval(() => navigator.locks.request('lock', (lock) => !!lock))).toBe(true)
    }))

  test('leaves for another origin, comes back, and keeps contexts apart', () =>
    inContext(async (context) => {
      const page = await context.newPage()
      await page.goto(app.origin)
      await page.eval(() => localStorage.setItem('seen', 'yes'))
      await page.start((url) => location.assign(url), `${server.origin}/sign-in?back=${app.origin}/callback`)
      await page.fill('input', 'secret')
      await page.click('button', 'Sign in')
      // The address of the sign-in page has the callback's in it.
      expect(await page.waitUrl(/\/callback\?/)).toBe(`${app.origin}/callback?password=secret`)
      expect(await page.eval(() => localStorage.getItem('seen'))).toBe('yes')
      await page.back()
      expect(await page.waitUrl(/sign-in/)).toContain(server.origin)
      await inContext(async (other) => {
        const stranger = await other.newPage()
        await stranger.goto(app.origin)
        expect(await stranger.eval(() => localStorage.getItem('seen'))).toBe(null)
      })
    }))

  test('gets an answer from a popup of another origin', () =>
    inContext(async (context) => {
      const page = await context.newPage()
      await page.goto(`${app.origin}/opener`)
      const popup = await page.popup(() => page.click('button'))
      await popup.click('button')
      expect(await page.waitFor(() => Reflect.get(window, 'answer'))).toEqual(['hello', server.origin])
      await page.waitFor(() => Reflect.get(window, 'child').closed)
      expect(await popup.isClosed()).toBe(true)
    }))

  test('fires input events when a field is filled, over what was in it', () =>
    inContext(async (context) => {
      const page = await context.newPage()
      await page.goto(`${app.origin}/react`)
      await page.fill('#field', 'alice')
      await page.fill('#field', 'bob.test')
      expect(await page.eval(() => document.querySelector('output')?.value)).toBe('bob.test')
    }))

  test('shows a page a device clock that is an hour late', () =>
    inContext(async (context) => {
      const page = await context.newPage()
      app.clockOffset = -3_600_000
      await page.goto(app.origin)
      app.clockOffset = 0
      const late = await page.eval((now) => now - Date.now(), Date.now())
      expect(late).toBeGreaterThan(3_500_000)
      expect(late).toBeLessThan(3_700_000)
      await page.reload()
      expect(
        Math.abs(await page.eval((now) => now - Date.parse(new Date().toISOString()), Date.now())),
      ).toBeLessThan(100_000)
    }))

  test('finds what a profile stored when the browser starts again', async () => {
    const profile = await mkdtemp(join(tmpdir(), 'signet-profile-'))
    const visit = () =>
      inContext(
        async (context) => {
          const page = await context.newPage()
          await page.goto(app.origin)
          const seen = await page.eval(() => localStorage.getItem('seen'))
          await page.eval(() => localStorage.setItem('seen', 'yes'))
          await page.reload()
          expect(await page.eval(() => localStorage.getItem('seen'))).toBe('yes')
          return seen
        },
        { profile },
      )
    try {
      expect(await visit()).toBe(null)
      expect(await visit()).toBe('yes')
    } finally {
      await rm(profile, { recursive: true, force: true, maxRetries: 5 })
    }
  })

  test('reports what went wrong in the page', () =>
    inContext(async (context) => {
      const page = await context.newPage()
      await page.goto(app.origin)
      await expect(page.eval(() => Promise.reject(new RangeError('no such thing')))).rejects.toThrow(
        'no such thing',
      )
    }))
})
