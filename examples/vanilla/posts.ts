import type { Session } from 'atproto-signet'

const collection = 'app.bsky.feed.post'

export interface Post {
  uri: string
  text: string
  createdAt: string
}

/** The server answered, but not with what was asked for. The message is fit for a person. */
export class RequestFailed extends Error {
  override name = 'RequestFailed'
}

export async function createPost(session: Session, text: string): Promise<{ uri: string }> {
  const record = { $type: collection, text, createdAt: new Date().toISOString() }
  return await json(
    await session.fetch('/xrpc/com.atproto.repo.createRecord', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ repo: session.did, collection, record }),
    }),
  )
}

/** The latest posts, newest first. */
export async function listPosts(session: Session, signal: AbortSignal): Promise<Post[]> {
  const query = new URLSearchParams({ repo: session.did, collection, limit: '20' })
  const { records } = await json<{ records: { uri: string; value: Omit<Post, 'uri'> }[] }>(
    await session.fetch(`/xrpc/com.atproto.repo.listRecords?${query}`, { signal }),
  )
  return records.map(({ uri, value }) => ({ uri, text: value.text, createdAt: value.createdAt }))
}

async function json<T>(response: Response): Promise<T> {
  if (response.ok) return (await response.json()) as T
  const { message } = (await response.json().catch(() => ({}))) as { message?: string }
  throw new RequestFailed(`Your server did not accept this: ${message ?? `it answered ${response.status}`}.`)
}
