import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { extname, join, normalize } from 'node:path'
import { inject } from 'vitest'
import { remoteScript } from './webkit-remote.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    /** The folder the fixture application was built into. */
    fixture: string
  }
}

declare global {
  interface Window {
    /** In pages of a site: what moves their time. */
    clock: { offset: number }
  }
}

export interface SiteOptions {
  /** Milliseconds by which the device's clock is wrong in the pages of this site. */
  clockOffset?: number
  /** Further pages by path: a document, or what answers the request. They come before the fixture's files. */
  pages?: Record<string, string | ((request: IncomingMessage, response: ServerResponse) => unknown)>
}

/** One origin with the fixture application on it, `http://127.0.0.1:<port>`, and so a storage of its own. */
export interface Site {
  readonly origin: string
  /** May be set between page loads. In a loaded page `clock.offset` moves the time. */
  clockOffset: number
  close(): Promise<void>
}

const types: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.map': 'application/json',
}

export async function serve({ clockOffset = 0, pages = {} }: SiteOptions = {}): Promise<Site> {
  const folder = inject('fixture')

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? '/', 'http://127.0.0.1')
    const page = Object.hasOwn(pages, pathname) ? pages[pathname] : undefined
    if (typeof page === 'function') return void (await page(request, response))
    // A path that names no file is one of the application's own.
    const file = extname(pathname) === '' ? '/index.html' : normalize(pathname)
    const body = page ?? (await readFile(join(folder, file)).catch(() => undefined))
    if (body === undefined) return void response.writeHead(404).end()
    const type = page === undefined ? types[extname(file)] : types['.html']
    response.writeHead(200, { 'content-type': type, 'cache-control': 'no-cache' })
    const html = type === types['.html']
    response.end(html ? withScripts(String(body), site.clockOffset, request.headers['user-agent']) : body)
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => response.destroy(error as Error))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const site: Site = {
    origin: `http://127.0.0.1:${address.port}`,
    clockOffset,
    async close() {
      server.close()
      server.closeAllConnections()
    },
  }
  return site
}

// Not an init script of the driver's, for stock WebKit has none.
function withScripts(html: string, clockOffset: number, userAgent: string | undefined): string {
  const doctype = /^\s*<!doctype html>/i
  if (!doctype.test(html)) throw new Error('A page has to begin with <!doctype html>')
  const scripts = [`(${shiftClock})(${clockOffset})`, remoteScript(userAgent)]
  return html.replace(doctype, (tag) => `${tag}<script>${scripts.join(';')}</script>`)
}

function shiftClock(offset: number): void {
  const clock = { offset }
  const RealDate = Date
  class ShiftedDate extends RealDate {
    constructor(...args: [value: number]) {
      super(...(args.length > 0 ? args : ([ShiftedDate.now()] as const)))
    }
    static override now(): number {
      return RealDate.now() + clock.offset
    }
  }
  const timeOrigin = performance.timeOrigin + offset
  Object.defineProperty(performance, 'timeOrigin', { value: timeOrigin, configurable: true })
  Object.assign(globalThis, { Date: ShiftedDate, clock })
}
