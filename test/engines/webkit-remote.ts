// Under automation stock WebKit always has a profile in memory. One that lasts takes a MiniBrowser without WebDriver,
// whose page asks this process what to do. So it works on pages of `serve` only, one at a time, without real clicks.
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type Context, type Page, poll, whereabouts } from './page.ts'
import { findDisplay, startChild, stopChild } from './processes.ts'

const userAgent = 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/605.1.15 (KHTML, like Gecko) Safari/605.1.15'

interface Outcome {
  value?: never
  error?: string
}

interface Command {
  source: string
  resolve: (value: never) => void
  reject: (error: Error) => void
}

/** What a page has to run so that a context with a profile can drive it. */
export function remoteScript(agent: string | undefined): string {
  const [, port] = /SignetRemote\/(\d+)/.exec(agent ?? '') ?? []
  return port === undefined ? '' : `if (self === top) (${obey})('http://127.0.0.1:${port}/')`
}

async function obey(address: string): Promise<void> {
  const loaded = document.readyState !== 'complete' && new Promise((done) => addEventListener('load', done))
  // Kept from before the page changes it.
  const { fetch } = globalThis
  const ask = fetch.bind(globalThis)
  let outcome: unknown = null
  await loaded
  for (;;) {
    const response = await ask(address, { method: 'POST', body: JSON.stringify(outcome) })
    const source = await response.text()
    try {
      outcome = { value: await new Function(`return ${source}`)() }
    } catch (error) {
      outcome = { error: `${error}` }
    }
  }
}

class Remote {
  readonly #miniBrowser: string
  readonly #profile: string
  readonly #processes: ChildProcess[] = []
  readonly #server = createServer()
  #waiting: ServerResponse | undefined
  #queue: Command[] = []
  #running: Command | undefined
  #documents = 0

  constructor(miniBrowser: string, profile: string) {
    this.#miniBrowser = miniBrowser
    this.#profile = profile
    this.#server.on('request', async (request, response) => {
      response.setHeader('access-control-allow-origin', '*')
      const outcome: Outcome | null = JSON.parse(await text(request))
      this.#hear(outcome, response)
    })
  }

  get isOpen(): boolean {
    return this.#processes.length > 0
  }

  async open(url: string): Promise<void> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    const display = await findDisplay(this.#processes)
    const agent = `--user-agent=${userAgent} SignetRemote/${address.port}`
    const browser = startChild(this.#miniBrowser, [agent, url], {
      DISPLAY: display,
      XDG_CONFIG_HOME: join(this.#profile, 'config'),
      XDG_DATA_HOME: join(this.#profile, 'data'),
      XDG_CACHE_HOME: join(this.#profile, 'cache'),
    })
    this.#processes.unshift(browser)
  }

  run(source: string): Promise<never> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ source, resolve, reject })
      this.#tell()
    })
  }

  /** Does what leads to another document, and waits until that is loaded. */
  async navigate(start: () => Promise<unknown>): Promise<void> {
    const before = this.#documents
    await start().catch((error: unknown) => {
      // The page may be gone before it has said that it goes.
      if (this.#documents === before) throw error
    })
    await poll(
      async () => this.#documents > before,
      () => 'the page to load',
    )
  }

  async close(): Promise<void> {
    for (const child of this.#processes.splice(0)) await stopChild(child)
    this.#server.close()
    this.#server.closeAllConnections()
  }

  #hear(outcome: Outcome | null, response: ServerResponse): void {
    this.#waiting = response
    response.once('close', () => {
      if (this.#waiting === response) this.#waiting = undefined
    })
    const command = this.#running
    this.#running = undefined
    if (outcome === null) {
      this.#documents++
      command?.reject(new Error('The page went to another document'))
    } else if (outcome.error !== undefined) {
      command?.reject(new Error(outcome.error))
    } else {
      command?.resolve(outcome.value as never)
    }
    this.#tell()
  }

  #tell(): void {
    if (this.#waiting === undefined || this.#running !== undefined) return
    this.#running = this.#queue.shift()
    if (this.#running === undefined) return
    this.#waiting.end(this.#running.source)
    this.#waiting = undefined
  }
}

export function remoteContext(miniBrowser: string, profile: string): Context {
  const remote = new Remote(miniBrowser, profile)
  let pages = 0
  return {
    async newPage() {
      if (pages++ > 0) unable('a second page')
      return remotePage(remote)
    },
    setOffline: async () => unable('being offline'),
    close: () => remote.close(),
  }
}

function remotePage(remote: Remote): Page {
  const self: Page = {
    goto: (url) =>
      remote.navigate(() =>
        remote.isOpen ? self.start((target) => location.assign(target), url) : remote.open(url),
      ),
    reload: () => remote.navigate(() => self.start(() => location.reload())),
    back: () => remote.navigate(() => self.start(() => history.back())),
    url: () => self.eval(() => location.href),
    eval: (run, argument) => remote.run(`(${run})(${JSON.stringify(argument ?? null)})`),
    start: (run, argument) => remote.run(`void setTimeout(${run}, 0, ${JSON.stringify(argument ?? null)})`),
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
    isClosed: async () => !remote.isOpen,
    close: () => remote.close(),
    click: async () => unable('clicks'),
    fill: async () => unable('typing'),
    popup: async () => unable('popups'),
    screenshot: async () => unable('screenshots'),
  }
  return self
}

function unable(what: string): never {
  throw new Error(`A profile that lasts does not go with ${what} in stock WebKit`)
}
