import { fork } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import type { RequestListener } from 'node:http'
import { json } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { matches, type Party } from './log.ts'
import { listen } from './loopback.ts'
import { type Call, connectNetwork, type Network, networkOver, type Operations } from './network.ts'
import { startServers } from './servers.ts'
import { Traffic } from './traffic.ts'

export interface NetworkOptions {
  /** Ports to listen on; any free one by default. */
  ports?: Partial<Record<Party, number>>
}

/** Starts a network inside this process. */
export async function startNetwork({ ports = {} }: NetworkOptions = {}): Promise<Network> {
  const ends: (() => unknown)[] = []
  let stopped: Promise<void> | undefined
  const stop = () => {
    stopped ??= runAll(ends.reverse())
    return stopped
  }
  try {
    const traffic = new Traffic()
    const servers = await startServers(traffic, ports, (end) => ends.push(end))
    const operations: Operations = {
      describe: () => ({ origins: servers.origins, accounts: servers.accounts }),
      entries: (match) => traffic.entries.filter((entry) => matches(entry, match)),
      clear: () => {
        traffic.entries.length = 0
      },
      waitFor: (match, options) => traffic.waitFor(match, options),
      setLatency: (milliseconds, parties) => {
        for (const party of parties) traffic.latency.set(party, milliseconds)
      },
      addRule: (rule) => traffic.add(rule),
      settleRule: (id, how) => traffic.settle(id, how),
      held: (id) => traffic.held(id),
      setTokenLifetime: servers.setTokenLifetime,
      authorize: servers.authorize,
      createAccount: servers.createAccount,
      moveAccount: servers.moveAccount,
      listRecords: servers.listRecords,
    }
    const call: Call = async (operation, ...args) => {
      const run = operations[operation] as (...args: unknown[]) => unknown
      return structuredClone(await run(...args)) as never
    }
    const path = `/${randomUUID()}`
    const control = await listen(controlListener(path, call))
    ends.push(control.close, () => traffic.stop())
    return { ...(await networkOver(call, `http://127.0.0.1:${control.port}${path}`)), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Starts a network in a process of its own, which ends with this one, however this one ends. */
export async function startNetworkProcess(options: NetworkOptions = {}): Promise<Network> {
  const main = fileURLToPath(new URL('./main.ts', import.meta.url))
  const child = fork(main, [`--options=${JSON.stringify(options)}`], {
    // The PDS waits to a fixed time after a sign-in; Node warns when the machine was too slow for that.
    execArgv: ['--disable-warning=TimeoutNegativeWarning'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const exited = once(child, 'exit')
  const [control] = await Promise.race([once(child, 'message'), exited])
  if (typeof control !== 'string') throw new Error(`The network did not start (exit code ${control})`)
  child.unref()
  child.channel?.unref()
  const stop = async () => {
    child.ref()
    if (child.connected) child.disconnect()
    await exited
  }
  return { ...(await connectNetwork(control)), stop }
}

/** The path is secret, so that other pages open on this machine cannot reach it. */
function controlListener(path: string, call: Call): RequestListener {
  return async (req, res) => {
    if (req.url !== path) return res.writeHead(404).end()
    let answer: object
    try {
      const { operation, args } = (await json(req)) as { operation: keyof Operations; args: never }
      answer = { result: await call(operation, ...args) }
    } catch (error) {
      answer = { error: error instanceof Error ? error.message : String(error) }
    }
    res.writeHead(200, { 'content-type': 'application/json', 'access-control-allow-origin': '*' })
    res.end(JSON.stringify(answer))
  }
}

async function runAll(ends: (() => unknown)[]): Promise<void> {
  const errors: unknown[] = []
  for (const end of ends) {
    try {
      await end()
    } catch (error) {
      errors.push(error)
    }
  }
  if (errors.length > 0) throw new AggregateError(errors, 'The network did not end cleanly')
}
