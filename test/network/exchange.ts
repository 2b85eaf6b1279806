import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { type IncomingHttpHeaders, type IncomingMessage, type RequestOptions, request } from 'node:http'
import { buffer } from 'node:stream/consumers'
import type { LogEntry, Party } from './log.ts'

/** An answer made up by a test. An object is sent as JSON; CORS headers are added. */
export interface Answer {
  status?: number
  headers?: Record<string, string>
  body?: unknown
}

export interface Reply {
  status: number
  headers: IncomingHttpHeaders
  body: Buffer
}

export interface Target {
  party: Party
  origin: string
  /** Port of the server itself, and of those to ask for a handle that it does not know. */
  port: number
  siblings: number[]
}

const hopByHop = ['connection', 'keep-alive', 'transfer-encoding', 'upgrade', 'te', 'trailer']

export const now = () => performance.timeOrigin + performance.now()

export function describe({ party, origin }: Target, req: IncomingMessage, id: number): LogEntry {
  const { headers, method = '', url = '/' } = req
  const { pathname, searchParams } = new URL(url, origin)
  return {
    id,
    party,
    origin,
    method,
    path: pathname,
    query: [...searchParams.keys()],
    preflight: method === 'OPTIONS' && 'access-control-request-method' in headers,
    ...(headers.origin && { from: headers.origin }),
    dpop: 'dpop' in headers,
    start: now(),
  }
}

export function describeTokenRequest(entry: LogEntry, req: IncomingMessage, body: Buffer): void {
  const text = body.toString()
  const json = req.headers['content-type']?.includes('json')
  let form: Record<string, unknown>
  try {
    form = json ? JSON.parse(text) : Object.fromEntries(new URLSearchParams(text))
  } catch {
    return
  }
  if (typeof form.grant_type === 'string') entry.grantType = form.grant_type
  if (typeof form.refresh_token === 'string') {
    entry.refreshTokenHash = createHash('sha256').update(form.refresh_token).digest('hex').slice(0, 16)
  }
}

export function makeUp(req: IncomingMessage, { status = 200, headers, body }: Answer): Reply {
  const text = typeof body === 'object' ? JSON.stringify(body) : String(body ?? '')
  return {
    status,
    headers: {
      'access-control-allow-origin': '*',
      'access-control-allow-methods': '*',
      'access-control-allow-headers': req.headers['access-control-request-headers'] ?? '*',
      'access-control-expose-headers': 'DPoP-Nonce, WWW-Authenticate',
      ...(typeof body === 'object' && { 'content-type': 'application/json' }),
      ...headers,
    },
    body: Buffer.from(text),
  }
}

/** JSON Merge Patch (RFC 7396), one level deep: `null` removes a member. */
export function rewrite(reply: Reply, patch: Record<string, unknown>): Reply {
  if (!reply.headers['content-type']?.includes('json')) return reply
  const merged = { ...JSON.parse(reply.body.toString()), ...patch }
  for (const [name, value] of Object.entries(patch)) if (value === null) delete merged[name]
  const body = Buffer.from(JSON.stringify(merged))
  return { ...reply, headers: { ...reply.headers, 'content-length': String(body.length) }, body }
}

export function endToEnd(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const kept = { ...headers }
  for (const name of hopByHop) delete kept[name]
  return kept
}

export async function forward(options: RequestOptions, body?: Buffer): Promise<Reply> {
  const sent = request({ host: '127.0.0.1', ...options })
  sent.end(body)
  const [answer] = (await once(sent, 'response')) as [IncomingMessage]
  const reply = {
    status: answer.statusCode ?? 502,
    headers: endToEnd(answer.headers),
    body: await buffer(answer),
  }
  if (reply.body.length > 0) reply.headers['content-length'] = String(reply.body.length)
  // WebKit keeps no Secure cookie from http://localhost, and the sign-in pages do not work without.
  const cookies = reply.headers['set-cookie']?.map((cookie) => cookie.replace(/; *Secure/i, ''))
  if (cookies) reply.headers['set-cookie'] = cookies
  return reply
}
