import { Client as AtcuteClient, ok } from '@atcute/client'
import { Agent } from '@atproto/api'
import { Client as LexClient, l } from '@atproto/lex'
import type { Session } from '../../src/index.ts'

export const COLLECTION = 'app.bsky.feed.post'

/** The three calls every app makes, each by the means of one XRPC library. */
export interface XrpcClient {
  /** A query: the handle of the account. */
  getHandle(): Promise<string>
  /** A procedure with a JSON body: the URI of the new record. */
  createPost(text: string): Promise<string>
  /** A procedure with a binary body: what the server made of it. */
  uploadBlob(bytes: Uint8Array<ArrayBuffer>, type: string): Promise<{ mimeType: string; size: number }>
}

const post = (text: string) => ({ $type: COLLECTION, text, createdAt: new Date().toISOString() }) as const

function withApi(session: Session): XrpcClient {
  const agent = new Agent(session)
  return {
    getHandle: async () => (await agent.com.atproto.server.getSession()).data.handle,
    async createPost(text) {
      const input = { repo: agent.assertDid, collection: COLLECTION, record: post(text) }
      return (await agent.com.atproto.repo.createRecord(input)).data.uri
    },
    async uploadBlob(bytes, encoding) {
      const { blob } = (await agent.uploadBlob(bytes, { encoding })).data
      return { mimeType: blob.mimeType, size: blob.size }
    },
  }
}

const getSession = l.query(
  'com.atproto.server.getSession',
  l.params({}),
  l.payload('application/json', l.object({ did: l.string(), handle: l.string() })),
)

function withLex(session: Session): XrpcClient {
  const client = new LexClient(session)
  return {
    getHandle: async () => (await client.xrpc(getSession)).body.handle,
    createPost: async (text) => (await client.createRecord(post(text))).body.uri,
    async uploadBlob(bytes, encoding) {
      const { blob } = (await client.uploadBlob(bytes, { encoding: encoding as `${string}/${string}` })).body
      const { mimeType, size } = blob as { mimeType: string; size: number }
      return { mimeType, size }
    },
  }
}

function withAtcute(session: Session): XrpcClient {
  // Without the packages that describe methods, names are free and answers unknown.
  const client = new AtcuteClient<Record<string, unknown>, Record<string, unknown>>({ handler: session })
  const json = 'json'
  return {
    async getHandle() {
      const answer = await ok(client.get('com.atproto.server.getSession', { as: json }))
      return (answer as { handle: string }).handle
    },
    async createPost(text) {
      const input = { repo: session.did, collection: COLLECTION, record: post(text) }
      const answer = await ok(client.post('com.atproto.repo.createRecord', { as: json, input }))
      return (answer as { uri: string }).uri
    },
    async uploadBlob(bytes, type) {
      const input = new Blob([bytes], { type })
      const answer = await ok(client.post('com.atproto.repo.uploadBlob', { as: json, input }))
      const { mimeType, size } = (answer as { blob: { mimeType: string; size: number } }).blob
      return { mimeType, size }
    },
  }
}

/** Each is handed the session object as it is. */
export const xrpcClients: ReadonlyArray<[name: string, open: (session: Session) => XrpcClient]> = [
  ['@atproto/api', withApi],
  ['@atproto/lex', withLex],
  ['@atcute/client', withAtcute],
]
