import { parseDpopChallenge } from '../dpop/challenge.ts'
import { oauthError } from '../errors.ts'
import { parseJson } from '../http.ts'

/** A request to the PDS, ready to be sent more than once. */
export interface ResourceRequest {
  url: URL
  method: string
  headers: Record<string, string>
  init: RequestInit
}

const RESERVED_HEADER = /^(authorization|dpop|cookie|host|origin|proxy-.*|sec-.*)$/
const PEEK_BYTES = 8192

/**
 * Turns the arguments of `session.fetch()` into a request to `/xrpc/` on the PDS, and to nowhere else. Bodies are made
 * repeatable: a server may ask for another nonce after it has read one.
 *
 * @throws {OAuthError} `url_forbidden`, `header_forbidden`
 */
export async function createResourceRequest(
  pds: string,
  input: string | URL | Request,
  init: RequestInit = {},
): Promise<ResourceRequest> {
  if (input instanceof Request) {
    const { method, headers, signal } = input
    const body = input.body ? await input.blob() : null
    return createResourceRequest(pds, input.url, { method, headers, signal, body, ...init })
  }
  const url = resolveResourceUrl(pds, String(input))
  const headers: Record<string, string> = Object.create(null)
  if (init.headers) {
    new Headers(init.headers).forEach((value, name) => {
      if (RESERVED_HEADER.test(name)) {
        throw oauthError('header_forbidden', `The header ${name} is the library's to set`, { header: name })
      }
      headers[name] = value
    })
  }
  const method = (init.method ?? 'GET').toUpperCase()
  const body = init.body == null ? null : await createRepeatableBody(init.body, headers)
  return {
    url,
    method,
    headers,
    init: {
      __proto__: null,
      method,
      body,
      signal: init.signal ?? null,
      cache: init.cache ?? 'default',
      keepalive: init.keepalive ?? false,
      priority: init.priority ?? 'auto',
      mode: 'cors',
      credentials: 'omit',
      referrerPolicy: 'no-referrer',
      redirect: 'manual',
    } as RequestInit,
  }
}

function resolveResourceUrl(pds: string, input: string): URL {
  const path = input.startsWith(`${pds}/`) ? input.slice(pds.length) : input
  const url = URL.canParse(path, pds) ? new URL(path, pds) : undefined
  // Dot segments, back slashes, tabs and the like change the path when it is parsed: what was asked must be what is sent.
  if (
    url?.origin !== pds ||
    !url.pathname.startsWith('/xrpc/') ||
    path.split(/[?#]/, 1)[0] !== url.pathname ||
    url.username
  ) {
    const shown = input.split(/[?#]/, 1)[0]?.slice(0, 200) ?? ''
    throw oauthError('url_forbidden', `Only paths under ${pds}/xrpc/ can be fetched, not ${shown}`, {
      url: shown,
      pds,
    })
  }
  return url
}

async function createRepeatableBody(body: BodyInit, headers: Record<string, string>): Promise<BodyInit> {
  if (typeof body === 'string' || body instanceof Blob) return body
  if (body instanceof ArrayBuffer) return body.slice(0)
  if (ArrayBuffer.isView(body))
    return new Uint8Array(body.buffer, body.byteOffset, body.byteLength).slice() as BodyInit
  // Streams and forms: read once, kept as a blob. Firefox would send a stream as the text "[object ReadableStream]".
  const response = new Response(body)
  const type = response.headers.get('content-type')
  if (type) headers['content-type'] ??= type
  return response.blob()
}

/**
 * The OAuth error of a PDS's answer: from `WWW-Authenticate`, or from the body where CORS hides that header
 * (RFC 9449 §7.1).
 */
export async function readResourceError(response: Response): Promise<string | undefined> {
  const { status, headers } = response
  if (status !== 401 && !(status === 400 && headers.has('dpop-nonce'))) return undefined
  const error = parseDpopChallenge(headers.get('www-authenticate'))?.error
  if (error !== undefined) return error
  if (Number(headers.get('content-length') ?? PEEK_BYTES) > PEEK_BYTES) return undefined
  const text = await response
    .clone()
    .text()
    .catch(() => '')
  const body = parseJson({ url: '', status, headers, text: text.slice(0, PEEK_BYTES) })
  const named = Object(body).error
  return typeof named === 'string' ? named : undefined
}
