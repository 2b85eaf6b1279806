// Stock WebKitGTK over classic WebDriver: Xvfb, WebKitWebDriver and MiniBrowser, one of each per profile.
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { findDisplay, startChild, stopChild } from './processes.ts'

/** The key under which WebDriver passes a reference to an element. */
export const elementKey = 'element-6066-11e4-a52e-4f735466cecf'

export interface ElementReference {
  [elementKey]: string
}

export class WebDriverError extends Error {
  readonly code: string

  constructor(code: string, message: string) {
    super(`${code}: ${message}`)
    this.name = 'WebDriverError'
    this.code = code
  }
}

const commandLimit = 60_000

/** One MiniBrowser with an in-memory profile of its own. */
export class WebKitSession {
  readonly #address: string
  readonly #processes: ChildProcess[]
  #id: string | undefined

  private constructor(address: string, processes: ChildProcess[]) {
    this.#address = address
    this.#processes = processes
  }

  static async start(miniBrowser: string, options: string[] = []): Promise<WebKitSession> {
    const processes: ChildProcess[] = []
    const port = await freePort()
    const session = new WebKitSession(`http://127.0.0.1:${port}`, processes)
    try {
      // Without a display the driver never answers a request for a session.
      const display = await findDisplay(processes)
      const driver = startChild('WebKitWebDriver', [`--port=${port}`], { DISPLAY: display })
      processes.unshift(driver)
      await session.#answers(driver)
      const args = ['--automation', '--javascript-can-open-windows-automatically=true', ...options]
      const created = await session.#request<{ sessionId: string }>('POST', '/session', {
        capabilities: { alwaysMatch: { 'webkitgtk:browserOptions': { binary: miniBrowser, args } } },
      })
      session.#id = created.sessionId
      await session.post('/timeouts', { script: commandLimit, pageLoad: commandLimit, implicit: 0 })
      return session
    } catch (error) {
      await session.close()
      throw error
    }
  }

  get<T>(path: string): Promise<T> {
    return this.#request('GET', `/session/${this.#id}${path}`)
  }

  post<T>(path: string, body: object = {}): Promise<T> {
    return this.#request('POST', `/session/${this.#id}${path}`, body)
  }

  delete<T>(path: string): Promise<T> {
    return this.#request('DELETE', `/session/${this.#id}${path}`)
  }

  async find(css: string): Promise<string> {
    const found = await this.post<ElementReference>('/element', { using: 'css selector', value: css })
    return found[elementKey]
  }

  /** The session goes first: a MiniBrowser outlives its driver, though not its display. */
  async close(): Promise<void> {
    if (this.#id !== undefined) await this.delete('').catch(() => {})
    this.#id = undefined
    for (const child of this.#processes.splice(0)) await stopChild(child)
  }

  async #answers(driver: ChildProcess): Promise<void> {
    for (let attempt = 0; attempt < 400; attempt++) {
      if (driver.exitCode !== null) break
      const answered = await fetch(`${this.#address}/status`).then(
        (response) => response.ok,
        () => false,
      )
      if (answered) return
      await sleep(25)
    }
    throw new Error('WebKitWebDriver does not answer')
  }

  async #request<T>(method: string, path: string, body?: object): Promise<T> {
    const response = await fetch(this.#address + path, {
      method,
      ...(body && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(commandLimit),
    })
    const { value } = (await response.json()) as { value: T & { error?: string; message?: string } }
    if (value?.error) throw new WebDriverError(value.error, value.message ?? '')
    return value
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
