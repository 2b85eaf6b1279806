import { fileURLToPath } from 'node:url'
import {
  type BrowserContext,
  chromium,
  errors,
  firefox,
  type LaunchOptions,
  type Locator,
  type Page as PlaywrightPage,
  webkit,
} from 'playwright'
import type { Engine } from './find.ts'
import { type Browser, type Context, type Page, patience, poll, whereabouts } from './page.ts'

const chromiumArgs = [
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/** How Playwright starts an engine, for the page API and for Vitest's provider alike. */
export function launchOptions(engine: Engine): LaunchOptions {
  if (engine.name === 'chromium') {
    const root = process.getuid?.() === 0
    return {
      executablePath: engine.executable,
      args: root ? [...chromiumArgs, '--no-sandbox'] : chromiumArgs,
    }
  }
  if (engine.name === 'webkit' || engine.source === 'playwright') return { executablePath: engine.executable }
  process.env.SIGNET_FIREFOX = engine.executable
  return {
    channel: 'moz-firefox',
    executablePath: fileURLToPath(new URL('./firefox.sh', import.meta.url)),
    // Stock Firefox never answers a `goBack` that takes a page out of the back/forward cache.
    firefoxUserPrefs: {
      'fission.bfcacheInParent': false,
      'browser.sessionhistory.max_total_viewers': 0,
    },
  }
}

export async function launchWithPlaywright(engine: Engine): Promise<Browser> {
  const type = { chromium, firefox, webkit }[engine.name]
  const options = launchOptions(engine)
  const browser = await type.launch(options)
  const persistent = new Set<BrowserContext>()
  return {
    async newContext({ profile } = {}) {
      if (profile === undefined) return contextOf(await browser.newContext())
      const context = await type.launchPersistentContext(profile, options)
      persistent.add(context)
      context.on('close', () => persistent.delete(context))
      return contextOf(context)
    },
    async close() {
      for (const context of persistent) await context.close()
      await browser.close()
    },
  }
}

function contextOf(context: BrowserContext): Context {
  context.setDefaultTimeout(patience)
  return {
    newPage: async () => pageOf(await context.newPage()),
    setOffline: (offline) => context.setOffline(offline),
    close: () => context.close(),
  }
}

function pageOf(page: PlaywrightPage): Page {
  /** For what may well close the page, which then cannot say that it succeeded. */
  const parting = async (action: () => Promise<unknown>): Promise<void> => {
    if (page.isClosed()) throw new Error('The page is closed')
    try {
      await action()
    } catch (error) {
      if (!page.isClosed()) throw error
    }
  }
  const told = async <T>(action: Promise<T>): Promise<T> => {
    try {
      return await action
    } catch (error) {
      if (error instanceof errors.TimeoutError) error.message += `\n${await whereabouts(self)}`
      throw error
    }
  }
  const self: Page = {
    goto: async (url) => void (await page.goto(url)),
    reload: async () => void (await page.reload()),
    back: async () => void (await page.goBack()),
    url: async () => page.url(),
    eval: (run, argument) => page.evaluate(run as never, argument ?? null),
    start: (run, argument) =>
      parting(() => page.evaluate(`void setTimeout(${run}, 0, ${JSON.stringify(argument ?? null)})`)),
    click: (css, text) => parting(() => told(locate(page, css, text).click())),
    fill: (css, text) => told(page.locator(css).fill(text)),
    waitFor: (run, argument) =>
      poll(
        () => self.eval(run, argument),
        async () => `${run}\n${await whereabouts(self)}`,
      ),
    async waitUrl(pattern) {
      await told(page.waitForURL(pattern))
      return page.url()
    },
    async popup(open) {
      const [popup] = await Promise.all([page.waitForEvent('popup'), open()])
      await popup.waitForLoadState()
      return pageOf(popup)
    },
    screenshot: async (file) => void (await page.screenshot({ path: file })),
    isClosed: async () => page.isClosed(),
    close: () => page.close(),
  }
  return self
}

function locate(page: PlaywrightPage, css: string, text: string | undefined): Locator {
  if (text === undefined) return page.locator(css)
  const literally = text.replace(/[^\w\s]/g, '\\$&')
  return page.locator(css).filter({ hasText: new RegExp(`^\\s*${literally}\\s*$`) })
}
