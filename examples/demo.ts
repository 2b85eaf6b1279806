/**
 * Starts a PLC directory, two PDSes with accounts, and the example app, and ends them when interrupted.
 *
 *     npm run demo              for a person; PORT=8080 chooses the port
 *     npm run demo -- --walk    drives the app in a headless browser instead, and exits with 0 or 1
 */
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { createServer as createViteServer } from 'vite'
import type { Network } from '../test/network/network.ts'
import { startNetworkProcess } from '../test/network/start.ts'

const { values } = parseArgs({ options: { walk: { type: 'boolean', default: false } } })

const interruption = new AbortController()
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => interruption.abort())

const cleanups: (() => Promise<unknown>)[] = []
try {
  console.log('Starting a network of servers on this machine…')
  const network = await startNetworkProcess()
  cleanups.push(() => network.stop())
  const origin = await serveApp(network)

  if (values.walk) {
    const { walk } = await import('./walk.ts')
    await walk({ origin, network, signal: interruption.signal })
  } else {
    announce(origin, network)
    await interrupted(interruption.signal)
    console.log('\nStopping…')
  }
} catch (error) {
  if (!interruption.signal.aborted) console.error(`\n${error instanceof Error ? error.message : error}`)
  process.exitCode = 1
} finally {
  for (const cleanup of cleanups.reverse()) await cleanup()
}

async function serveApp(network: Network): Promise<string> {
  const repository = fileURLToPath(new URL('..', import.meta.url))
  const facts = {
    pds: network.origins.pds1,
    plc: network.origins.plc,
    handles: network.accounts.map((account) => account.handle),
  }
  const server = createServer()
  // As a middleware, because a Vite that owns the server ends the process by itself on SIGTERM.
  const vite = await createViteServer({
    configFile: false,
    root: fileURLToPath(new URL('vanilla', import.meta.url)),
    cacheDir: `${repository}/node_modules/.vite/demo`,
    logLevel: 'error',
    define: { NETWORK: JSON.stringify(facts) },
    resolve: { alias: { 'atproto-signet': `${repository}/src/index.ts` } },
    server: { middlewareMode: true, hmr: { server }, fs: { allow: [repository] } },
  })
  cleanups.push(() => vite.close())
  server.on('request', vite.middlewares)
  const port = await listen(server)
  cleanups.push(async () => {
    server.close()
    server.closeAllConnections()
  })
  return `http://127.0.0.1:${port}`
}

/** On `PORT`, or else on the first free port from 5173 on. */
async function listen(server: Server): Promise<number> {
  const asked = process.env.PORT
  if (asked && !/^\d+$/.test(asked)) throw new Error(`PORT is not a number: ${asked}`)
  for (let port = Number(asked || 5173); ; port++) {
    try {
      // A loopback client has to live on 127.0.0.1. Browsers find it by the name `localhost` too.
      server.listen(port, '127.0.0.1')
      await once(server, 'listening')
      return port
    } catch (error) {
      const inUse = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE'
      if (!inUse) throw error
      if (asked) throw new Error(`Port ${asked} is in use`)
    }
  }
}

function announce(origin: string, network: Network) {
  const width = Math.max(...network.accounts.map((account) => account.handle.length))
  const rows = network.accounts.map(({ handle, password, pds }) =>
    [handle.padEnd(width), password.padEnd(width + 5), pds].join('   '),
  )
  console.log(`
  Open      ${origin}/

  Account${' '.repeat(Math.max(0, width - 7))}   Password${' '.repeat(Math.max(0, width - 3))}   Server
  ${rows.join('\n  ')}

  Ctrl+C ends it all and leaves nothing behind.`)
}

function interrupted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve())
  })
}
