import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'

/** Starts a program that gets SIGTERM when this process ends, however it ends. */
export function startChild(command: string, args: string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
  return spawn('setpriv', ['--pdeathsig', 'TERM', command, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  })
}

export async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill()
  const impatience = setTimeout(() => child.kill('SIGKILL'), 3000)
  await ended
  clearTimeout(impatience)
}

/** The display to show windows on, started if this machine has none. What was started is added to `children`. */
export async function findDisplay(children: ChildProcess[]): Promise<string> {
  if (process.env.DISPLAY) return process.env.DISPLAY
  const args = ['-displayfd', '3', '-screen', '0', '1280x1024x24', '-nolisten', 'tcp']
  const server = startChild('Xvfb', args)
  children.push(server)
  let text = ''
  for await (const chunk of server.stdio[3] as Readable) {
    text += chunk
    if (text.includes('\n')) return `:${text.trim()}`
  }
  throw new Error('Xvfb did not start')
}
