import { writeFile } from 'node:fs/promises'
import { type Browser, type Context, type Page, poll, whereabouts } from './page.ts'
import { type ElementReference, elementKey, WebDriverError, WebKitSession } from './webkit.ts'
import { remoteContext } from './webkit-remote.ts'

/** Refusals that pass: something was in the way, or the element was just replaced. */
const transient = new Set([
  'stale element reference',
  'element not interactable',
  'element click intercepted',
  'no such element',
])

export async function launchStockWebKit(miniBrowser: string): Promise<Browser> {
  const contexts = new Set<Context>()
  return {
    async newContext({ profile } = {}) {
      const context =
        profile === undefined
          ? await contextOf(await WebKitSession.start(miniBrowser))
          : remoteContext(miniBrowser, profile)
      contexts.add(context)
      return context
    },
    async close() {
      for (const context of contexts) await context.close()
    },
  }
}

async function contextOf(webkit: WebKitSession): Promise<Context> {
  const windows = new Windows(webkit, await webkit.get('/window'))
  return {
    newPage: async () => pageOf(webkit, windows, await windows.open()),
    async setOffline() {
      throw new Error('Stock WebKit has no switch for the network')
    },
    close: () => webkit.close(),
  }
}

/** A WebDriver command goes to the window last switched to, so the commands of several pages have to queue. */
class Windows {
  readonly #webkit: WebKitSession
  #current: string | undefined
  #unused: string | undefined
  #queue: Promise<unknown> = Promise.resolve()

  constructor(webkit: WebKitSession, first: string) {
    this.#webkit = webkit
    this.#current = first
    this.#unused = first
  }

  handles(): Promise<string[]> {
    return this.#next(() => this.#webkit.get('/window/handles'))
  }

  in<T>(handle: string, command: () => Promise<T>): Promise<T> {
    return this.#next(async () => {
      await this.#switchTo(handle)
      return command()
    })
  }

  open(): Promise<string> {
    return this.#next(async () => {
      const handle = this.#unused ?? (await this.#create())
      this.#unused = undefined
      return handle
    })
  }

  close(handle: string): Promise<void> {
    return this.#next(async () => {
      const handles = await this.#webkit.get<string[]>('/window/handles')
      // The browser would go with its last window.
      if (handles.length === 1) this.#unused = await this.#create()
      await this.#switchTo(handle)
      await this.#webkit.delete('/window')
      this.#current = undefined
    })
  }

  async #create(): Promise<string> {
    if (this.#current === undefined) {
      const [any] = await this.#webkit.get<string[]>('/window/handles')
      if (any !== undefined) await this.#switchTo(any)
    }
    // 'tab' would make a hidden page, with its timers slowed down.
    const created = await this.#webkit.post<{ handle: string }>('/window/new', { type: 'window' })
    return created.handle
  }

  async #switchTo(handle: string): Promise<void> {
    if (this.#current !== handle) await this.#webkit.post('/window', { handle })
    this.#current = handle
  }

  #next<T>(command: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(command)
    this.#queue = result.catch(() => {})
    return result
  }
}

function pageOf(webkit: WebKitSession, windows: Windows, handle: string): Page {
  const get = <T>(path: string): Promise<T> => windows.in(handle, () => webkit.get<T>(path))
  const post = async <T>(path: string, body?: object): Promise<T> =>
    windows.in(handle, () => webkit.post<T>(path, body))

  /** The element a person could use now, if there is one. */
  async function usable(css: string, text: string | undefined): Promise<string | undefined> {
    const found = await post<ElementReference | null>('/execute/sync', {
      script: `return [...document.querySelectorAll(arguments[0])].find((element) =>
        (arguments[1] === null || element.textContent.trim() === arguments[1]) &&
        element.checkVisibility({ visibilityProperty: true }) && !element.matches(':disabled')) ?? null`,
      args: [css, text ?? null],
    })
    return found?.[elementKey]
  }

  async function act(
    css: string,
    text: string | undefined,
    steps: (element: string) => Promise<void>,
  ): Promise<void> {
    const what = async (): Promise<string> =>
      `${css}${text ? ` saying "${text}"` : ''}\n${await whereabouts(self)}`
    let refusal: WebDriverError | undefined
    await poll(async () => {
      const element = await usable(css, text)
      if (element === undefined) return false
      try {
        await steps(element)
      } catch (error) {
        if (error instanceof WebDriverError && transient.has(error.code)) throw error
        refusal = error as WebDriverError
      }
      return true
    }, what)
    if (refusal !== undefined) throw refusal
  }

  const self: Page = {
    goto: (url) => post('/url', { url }),
    reload: () => post('/refresh'),
    back: () => post('/back'),
    url: () => get('/url'),
    async eval(run, argument) {
      const outcome = await post<{ value: never } | { error: string }>('/execute/async', {
        // WebKit's stack does not contain the message.
        script: `const done = arguments[1]
          ;(async () => (${run})(arguments[0]))().then(
            (value) => done({ value }),
            (error) => done({ error: error + '\\n' + (error?.stack ?? '') }))`,
        args: [argument ?? null],
      })
      if ('error' in outcome) throw new Error(outcome.error)
      return outcome.value
    },
    start: (run, argument) =>
      post('/execute/sync', {
        script: `setTimeout(${run}, 0, arguments[0])`,
        args: [argument ?? null],
      }),
    click: (css, text) => act(css, text, (element) => post(`/element/${element}/click`)),
    fill: (css, text) =>
      act(css, undefined, async (element) => {
        await post(`/element/${element}/clear`)
        await post(`/element/${element}/value`, { text })
      }),
    waitFor: (run, argument) =>
      poll(
        () => self.eval(run, argument),
        async () => `${run}\n${await whereabouts(self)}`,
      ),
    waitUrl: (pattern) =>
      poll(
        async () => {
          const url = await self.url()
          return pattern.test(url) ? url : undefined
        },
        async () => `${pattern}\n${await whereabouts(self)}`,
      ),
    async popup(open) {
      const before = new Set(await windows.handles())
      await open()
      const opened = await poll(
        async () => (await windows.handles()).find((handle) => !before.has(handle)),
        () => 'a popup',
      )
      const popup = pageOf(webkit, windows, opened)
      await popup.waitFor(() => document.readyState === 'complete' && location.href !== 'about:blank')
      return popup
    },
    async screenshot(file) {
      await writeFile(file, await get<string>('/screenshot'), 'base64')
    },
    isClosed: async () => !(await windows.handles()).includes(handle),
    close: () => windows.close(handle),
  }
  return self
}
