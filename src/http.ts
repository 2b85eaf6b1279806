import { oauthError } from './errors.ts'

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
  status: number
  headers: Headers
  text: string
}

/**
 * Makes one request and reads its body, within a time and a size. No credentials, no referrer, no cache, and no
 * redirect is followed unless asked.
 *
 * @throws {OAuthError} `network_failed`, `timed_out`, `response_invalid`; the signal's reason when the caller aborts.
 */
export async function fetchBounded(
  fetch: Fetch,
  url: string,
  request: BoundedRequest,
): Promise<BoundedResponse> {
  const { timeoutMs, maxBytes, signal, redirect = 'manual' } = request
  const stop = new AbortController()
  const abort = () => stop.abort()
  const target = withoutQuery(url)
  signal?.throwIfAborted()
  const timer = setTimeout(abort, timeoutMs)
  signal?.addEventListener('abort', abort)
  const stopped = new Promise<never>((_, reject) => stop.signal.addEventListener('abort', reject))
  const exchange = async () => {
    const response = await fetch(url, {
      // Without a prototype, nothing that a script put on Object.prototype reaches fetch.
      __proto__: null,
      method: request.method ?? 'GET',
      headers: request.headers ?? {},
      body: request.body ?? null,
      keepalive: request.keepalive ?? false,
      redirect,
      credentials: 'omit',
      referrerPolicy: 'no-referrer',
      mode: 'cors',
      cache: 'no-store',
      signal: stop.signal,
    } as RequestInit)
    if (response.type === 'opaqueredirect' || (response.status >= 300 && response.status < 400)) {
      throw responseInvalid(url, response.status, 'a redirect, which is never followed')
    }
    return {
      url,
      status: response.status,
      headers: response.headers,
      text: await readText(response, maxBytes, url),
    }
  }
  try {
    // Raced, so that the limit also holds with a `fetch` that does not listen to its signal.
    return await Promise.race([exchange(), stopped])
  } catch (cause) {
    signal?.throwIfAborted()
    if (stop.signal.aborted)
      throw oauthError('timed_out', `${target} did not answer in ${timeoutMs} ms`, { url: target, timeoutMs })
    if (cause instanceof Error && cause.name === 'OAuthError') throw cause
    throw oauthError('network_failed', `${target} could not be reached`, { url: target }, cause)
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
  }
}

async function readText(response: Response, maxBytes: number, url: string): Promise<string> {
  const reader = response.body?.getReader()
  if (!reader) return ''
  const decoder = new TextDecoder()
  let text = ''
  for (let size = 0; ; ) {
    const { done, value } = await reader.read()
    if (done) return text + decoder.decode()
    size += value.byteLength
    if (size > maxBytes) {
      void reader.cancel().catch(() => {})
      throw responseInvalid(url, response.status, `larger than ${maxBytes} bytes`)
    }
    text += decoder.decode(value, { stream: true })
  }
}

/** The body of an answer as JSON; `undefined` when it is not JSON or not of an accepted media type. */
export function parseJson(
  response: BoundedResponse,
  mediaTypes: readonly string[] = ['application/json'],
): unknown {
  const mediaType = response.headers.get('content-type')?.split(';')[0]?.trim().toLowerCase() ?? ''
  if (!mediaTypes.includes(mediaType)) return undefined
  try {
    return JSON.parse(response.text)
  } catch {
    return undefined
  }
}

export function responseInvalid(url: string, status: number, issue: string): Error {
  const target = withoutQuery(url)
  return oauthError('response_invalid', `${target} answered ${status}: ${issue}`, {
    url: target,
    status,
    issues: [issue],
  })
}

/** Origin and path: what may stand in an error. */
export function withoutQuery(url: string): string {
  return url.split(/[?#]/, 1)[0] ?? ''
}

/** `Retry-After` in milliseconds, for seconds and for dates. */
export function retryAfterMs(headers: Headers, now: number): number | undefined {
  const value = headers.get('retry-after')
  if (!value) return undefined
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now
  return ms >= 0 ? ms : undefined
}

const LOCAL_HOST = /\.(localhost|local|internal)$|^[^.]*$|^[\d.]+$|:/

/**
 * A URL of one of the parties: https, no credentials, no fragment and a public host.
 * `allowHttp` (development) also lets plain http and local hosts through.
 */
export function parsePartyUrl(value: unknown, allowHttp: boolean): URL | undefined {
  if (typeof value !== 'string' || value.length > 2048 || !URL.canParse(value)) return undefined
  const url = new URL(value)
  if (url.username || url.password || url.hash || value.includes('#') || /[\s\\]/.test(value))
    return undefined
  if (url.protocol !== 'https:' && !(allowHttp && url.protocol === 'http:')) return undefined
  return !allowHttp && LOCAL_HOST.test(url.hostname) ? undefined : url
}

/** {@link parsePartyUrl} for identifiers that must be a bare origin, spelled exactly as an origin is. */
export function parseOrigin(value: unknown, allowHttp: boolean): string | undefined {
  const origin = parsePartyUrl(value, allowHttp)?.origin
  return origin === value ? origin : undefined
}
