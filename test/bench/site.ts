import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer, type RequestListener } from 'node:http'
import { tmpdir } from 'node:os'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'
import { builtPackage } from '../engines/built.ts'
import type { ConnectedNetwork } from '../network/network.ts'
import { contenderNames, root } from './contenders.ts'

export interface Site {
  origin: string
  /** Nobody's server. Notes whether a request to it brought an `Authorization` header. */
  foreign: { origin: string; authorized: boolean }
  close(): Promise<void>
}

const types: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript' }

/** Builds one page for each contender, as an app is built, and serves them. */
export async function serveSite({ origins }: ConnectedNetwork): Promise<Site> {
  const folder = await mkdtemp(join(tmpdir(), 'signet-bench-'))
  const pages = fileURLToPath(new URL('page', import.meta.url))
  await build({
    root: pages,
    configFile: false,
    logLevel: 'warn',
    resolve: { alias: [builtPackage] },
    define: { NETWORK: JSON.stringify({ pds: origins.pds1, plc: origins.plc }) },
    build: {
      outDir: folder,
      emptyOutDir: true,
      target: 'es2023',
      rolldownOptions: { input: contenderNames.map((name) => join(pages, `${name}.html`)) },
    },
  })

  const own = await listen(async ({ url = '/' }, response) => {
    const { pathname } = new URL(url, 'http://127.0.0.1')
    const file =
      pathname === '/service-worker.js'
        ? join(root, 'dist/service-worker/standalone.js')
        : join(folder, pathname)
    const blank = pathname === '/blank.html' ? '<!doctype html><title>Blank</title>' : undefined
    const body = blank ?? (await readFile(file).catch(() => undefined))
    response.writeHead(body === undefined ? 404 : 200, {
      'content-type': types[extname(pathname)] ?? '',
      // Only pages that are isolated are given a clock that is exact to some microseconds.
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-embedder-policy': 'require-corp',
    })
    response.end(body)
  })
  const other = await listen(({ headers, method }, response) => {
    if (method !== 'OPTIONS') foreign.authorized = headers.authorization !== undefined
    response.writeHead(200, {
      'access-control-allow-origin': '*',
      'access-control-allow-headers': 'authorization, dpop',
    })
    response.end('{}')
  })
  const foreign = { origin: other.origin, authorized: false }
  return {
    origin: own.origin,
    foreign,
    async close() {
      own.close()
      other.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function listen(listener: RequestListener): Promise<{ origin: string; close(): void }> {
  const server = createServer(listener)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('There is no port')
  return {
    origin: `http://127.0.0.1:${address.port}`,
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}
