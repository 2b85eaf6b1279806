import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createOAuthClient, type OAuthClient, type Session } from '../../src/index.ts'
import { COLLECTION, xrpcClients } from '../flow/xrpc-clients.ts'
import type { Account, Network } from '../network/network.ts'
import { startNetworkProcess } from '../network/start.ts'
import { accountOf } from './app.ts'

let network: Network
let alice: Account
let client: OAuthClient
let session: Session

beforeAll(async () => {
  network = await startNetworkProcess()
  alice = accountOf(network, 'alice.test')
  client = createOAuthClient({
    scope: 'atproto transition:generic',
    handleResolver: network.origins.pds1,
    plcDirectory: network.origins.plc,
    storage: 'memory',
    allowHttp: true,
  })
  const { url } = await client.authorize(alice.handle)
  session = await client.handleCallback(await network.authorize(url, alice))
})
afterAll(async () => {
  client?.close()
  await network?.stop()
})

describe.each(xrpcClients)('%s, given a session made in Node,', (name, open) => {
  test('asks a real server who is signed in', async () => {
    expect(await open(session).getHandle()).toBe(alice.handle)
  })

  test('writes a record to a real server', async () => {
    const text = `Written with ${name}`
    const uri = await open(session).createPost(text)
    expect(await network.listRecords(alice.did, COLLECTION)).toContainEqual(
      expect.objectContaining({ uri, value: expect.objectContaining({ text }) }),
    )
  })

  test('uploads a blob to a real server', async () => {
    const bytes = crypto.getRandomValues(new Uint8Array(10_000))
    const type = 'application/octet-stream'
    expect(await open(session).uploadBlob(bytes, type)).toEqual({ mimeType: type, size: bytes.length })
  })
})
