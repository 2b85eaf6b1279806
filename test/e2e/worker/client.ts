// The client of a page, in a worker of any kind: it opens the account it is told, and answers with what a request says.
import { createOAuthClient, type OAuthClientOptions } from '../../../src/index.ts'

interface Question {
  did: string
  options: OAuthClientOptions
}

interface Asked extends Event {
  readonly data: Question
  readonly ports: readonly MessagePort[]
  waitUntil?(work: Promise<void>): void
}

async function answer({ did, options }: Question, port: MessagePort): Promise<void> {
  const client = createOAuthClient(options)
  try {
    const session = await client.restore(did)
    const before = await session.fetch('/xrpc/com.atproto.server.getSession')
    await session.refresh()
    const after = await session.fetch('/xrpc/com.atproto.server.getSession')
    port.postMessage({ statuses: [before.status, after.status], did: (await after.json()).did })
  } catch (error) {
    port.postMessage({ code: (error as { code?: unknown }).code ?? String(error) })
  } finally {
    client.close()
  }
}

addEventListener('message', (event) => {
  const asked = event as Asked
  // A service worker hears itself asked to guard a refresh, which it does not.
  if (!asked.data.options) return
  const work = answer(asked.data, asked.ports[0] as MessagePort)
  asked.waitUntil?.(work)
})
addEventListener('connect', (event) => {
  const [port] = (event as Asked).ports
  if (port) port.onmessage = ({ data, ports: [reply] }) => void answer(data, reply as MessagePort)
})
