import { isOAuthError, oauthError } from './errors.ts'
import { abortable } from './time.ts'

/** The part of `fetch` that is used. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>

export interface BoundedRequest {
  method?: string
  headers?: Record<string, string>
  body?: string
  /** Covers the whole exchange, body included. */
  timeoutMs: number
  /** Bytes of body read before giving up. */
  maxBytes: number
  signal?: AbortSignal | undefined
  redirect?: 'manual' | 'follow'
  keepalive?: boolean
}

export interface BoundedResponse {
  url: string
  /** Where the answer came from, if a redirect was followed. */
  finalUrl: string
  status: number
  headers: Headers
  text: string
}

/** What holds for every request: nothing of the person's or the page's goes with it, and no redirect is followed. */
export const SAFE_INIT: RequestInit = {
  mode: 'cors',
  credentials: 'omit',
  referrerPolicy: 'no-referrer',
  redirect: 'manual',
}

/**
 * Makes one request and reads its body, within a time and a size. Nothing is taken from a cache.
 *
 * @throws {OAuthError} `network_failed`, `timed_out`, `response_invalid`; the signal's reason when the caller aborts.
 */
export async function fetchBounded(
  fetch: Fetch,
  url: string,
  request: BoundedRequest,
): Promise<BoundedResponse> {
  const { timeoutMs, maxBytes, signal, ...init } = { __proto__: null, ...request } as BoundedRequest
  signal?.throwIfAborted()
  const stop = new AbortController()
  const timer = setTimeout(() => stop.abort(), timeoutMs)
  const either = signal ? AbortSignal.any([stop.signal, signal]) : stop.signal
  // A POST is not answered from a cache; with `no-store` Chromium would ask for its preflight every time.
  const cache = init.method === 'POST' ? 'default' : 'no-store'
  const exchange = async () => {
    // Without a prototype, nothing that a script put on Object.prototype reaches fetch.
    const response = await fetch(url, {
      __proto__: null,
      ...SAFE_INIT,
      cache,
      ...init,
      signal: either,
    } as RequestInit)
    requireNoRedirect(url, response)
    const { status, headers } = response
    return { url, finalUrl: response.url, status, headers, text: await readText(response, maxBytes, url) }
  }
  try {
    // The limit also holds with a `fetch` that does not listen to its signal.
    return await abortable(exchange(), either)
  } catch (cause) {
    signal?.throwIfAborted()
    if (stop.signal.aborted) throw oauthError('timed_out', { url: withoutQuery(url), timeoutMs })
    throw isOAuthError(cause) ? cause : networkFailed(url, cause)
  } finally {
    clearTimeout(timer)
  }
}

/** Reads a body up to a size. */
export async function readText(response: Response, maxBytes: number, url: string): Promise<string> {
  const reader = response.body?.getReader()
  const decoder = new TextDecoder()
  let text = ''
  for (let size = 0; reader; ) {
    const { done, value } = await reader.read()
    if (done) break
    // An empty chunk counts too: a stream of them must end as well.
    size += value.byteLength || 1
    if (size > maxBytes) {
      reader.cancel().catch(() => {})
      throw responseInvalid(url, response.status, `larger than ${maxBytes} bytes`)
    }
    text += decoder.decode(value, { stream: true })
  }
  return text + decoder.decode()
}

/** The body of an answer as JSON; `undefined` when it is not JSON or not of an accepted media type. */
export function parseJson(
  { headers, text }: { headers: Headers; text: string },
  mediaTypes: readonly string[] = ['application/json'],
): unknown {
  if (!mediaTypes.includes(headers.get('content-type')?.split(';')[0]?.trim().toLowerCase() ?? ''))
    return undefined
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/**
 * The members of an answer that is a JSON object; none when it is not one. Without a prototype: nothing that a script put
 * on `Object.prototype` is the server's.
 */
export function parseMembers(answer: { headers: Headers; text: string }): Record<string, unknown> {
  return Object.assign(Object.create(null), parseJson(answer))
}

/** @throws {OAuthError} `response_invalid`: a proof covers the URL it was made for, and no other. */
export function requireNoRedirect(url: string, { type, status }: Response): void {
  if (type === 'opaqueredirect' || [301, 302, 303, 307, 308].includes(status))
    throw responseInvalid(url, status, 'redirect')
}

export function responseInvalid(url: string, status: number, ...issues: string[]): Error {
  return oauthError('response_invalid', { url: withoutQuery(url), status, issues })
}

export function networkFailed(url: string, cause?: unknown): Error {
  return oauthError('network_failed', { url: withoutQuery(url) }, cause)
}

/** Origin and path: what may stand in an error. */
export function withoutQuery(url: string): string {
  return url.split(/[?#]/, 1)[0] ?? ''
}

/** Names that only mean something inside one machine or network, and addresses instead of names. */
const LOCAL_HOST = /\.(localhost|local|internal|home\.arpa)$|^[^.]*$|^[\d.]+$|\.$|:/

/**
 * A URL of one of the parties: https, no credentials, no fragment and a public host.
 * `allowHttp` (development) also lets plain http and local hosts through.
 */
export function parsePartyUrl(value: unknown, allowHttp: boolean): URL | undefined {
  if (typeof value !== 'string' || value.length > 2048 || /[\s\\#]/.test(value) || !URL.canParse(value))
    return undefined
  const url = new URL(value)
  const { protocol, username, password, hostname } = url
  if (username || password || !(protocol === 'https:' || (allowHttp && protocol === 'http:')))
    return undefined
  return !allowHttp && LOCAL_HOST.test(hostname) ? undefined : url
}

/** Options as they were given, inherited ones too, but nothing that a script put on `Object.prototype`. */
export function given<T extends object>(options: T): T {
  return new Proxy(options, {
    get: (_, name) =>
      Object.hasOwn(options, name) || !(name in Object.prototype) ? Reflect.get(options, name) : undefined,
  })
}

/** What is wrong with a URL that {@link parseOrigin} does not take. */
export const NOT_AN_ORIGIN = 'not a bare https origin; allowHttp lets local ones through'

/** {@link parsePartyUrl} for identifiers that must be a bare origin, spelled exactly as an origin is. */
export function parseOrigin(value: unknown, allowHttp: boolean): string | undefined {
  const origin = parsePartyUrl(value, allowHttp)?.origin
  return origin === value ? origin : undefined
}
