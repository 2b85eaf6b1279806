import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { expect, test, vi } from 'vitest'
import { connectNetwork } from './network.ts'
import { startNetwork } from './start.ts'

const start = new URL('./start.ts', import.meta.url).href
const main = fileURLToPath(new URL('./main.ts', import.meta.url))

/** Runs Node and tells what it left in its folder for temporary files. */
async function runNode(
  args: string[],
  use?: (firstLine: string, kill: (signal: NodeJS.Signals) => void) => unknown,
) {
  const folder = await mkdtemp(join(tmpdir(), 'atproto-network-test-'))
  try {
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TMPDIR: folder },
    })
    const exited = once(child, 'exit')
    const errors = text(child.stderr)
    const output = use ? once(child.stdout.setEncoding('utf8'), 'data') : text(child.stdout)
    if (use) await use(String(await output).trim(), (signal) => child.kill(signal))
    const [code, signal] = await exited
    // A grandchild has the same stderr: it ends when that one is gone as well.
    return { code, signal, output: String(await output), errors: await errors, left: await readdir(folder) }
  } finally {
    await rm(folder, { recursive: true })
  }
}

test('a network that cannot start takes back what it had started', async () => {
  const servers = [createServer(), createServer(), createServer()]
  const ports = await Promise.all(servers.map(bind))
  await Promise.all(servers.slice(0, 2).map(unbind))
  const [plc, pds1, pds2] = ports as [number, number, number]
  const folder = await mkdtemp(join(tmpdir(), 'atproto-network-test-'))
  vi.stubEnv('TMPDIR', folder)

  await expect(startNetwork({ ports: { plc, pds1, pds2 } })).rejects.toMatchObject({
    code: 'EADDRINUSE',
    port: pds2,
  })

  vi.unstubAllEnvs()
  expect(await readdir(folder)).toEqual([])
  await rm(folder, { recursive: true })
  expect(await Promise.all(servers.slice(0, 2).map((server, i) => bind(server, ports[i])))).toEqual([
    plc,
    pds1,
  ])
  await Promise.all(servers.map(unbind))
})

async function bind(server: Server, port = 0): Promise<number> {
  await once(server.listen(port, '127.0.0.1'), 'listening')
  return (server.address() as AddressInfo).port
}

async function unbind(server: Server): Promise<void> {
  await once(server.close(), 'close')
}

test('the program prints where the network is, and is gone after SIGTERM with nothing left behind', async () => {
  let control = ''
  const run = await runNode([main, '--json'], async (line, kill) => {
    const printed = JSON.parse(line)
    control = printed.control
    const { origins, accounts } = await connectNetwork(control)
    expect({ origins, accounts, control }).toEqual(printed)
    expect((await fetch(`${origins.pds1}/xrpc/_health`)).status).toBe(200)
    kill('SIGTERM')
  })
  expect(run).toMatchObject({ code: 0, signal: null, errors: '', left: [] })
  await expect(connectNetwork(control)).rejects.toThrow('fetch failed')
}, 120_000)

test('a network in a process of its own does not keep its parent alive, and ends when that is killed', async () => {
  let control = ''
  const code = `
    const { startNetworkProcess } = await import('${start}')
    const { control } = await startNetworkProcess()
    process.once('beforeExit', () => {
      console.log(control)
      setInterval(() => {}, 1000)
    })`
  const run = await runNode(['--input-type=module', '-e', code], (line, kill) => {
    control = line
    kill('SIGKILL')
  })
  expect(run).toMatchObject({ signal: 'SIGKILL', left: [] })
  await expect(connectNetwork(control)).rejects.toThrow('fetch failed')
}, 120_000)
