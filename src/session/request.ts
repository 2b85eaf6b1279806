import { parseDpopChallenge } from '../dpop/challenge.ts'
import { oauthError } from '../errors.ts'
import { given, parseMembers, readText, withoutQuery } from '../http.ts'
import { within } from '../time.ts'

/** A request to the PDS, ready to be sent more than once. */
export interface ResourceRequest {
  url: URL
  method: string
  headers: Record<string, string>
  init: RequestInit
}

/** An NSID names the method; nothing else is one (XRPC specification). */
const METHOD = /^\/xrpc\/([\w.~-]|%(?!2[EeFf]|5[Cc])[\dA-Fa-f]{2})+$/
const RESERVED_HEADER = /^(authorization|dpop|cookie|host|origin|proxy-.*|sec-.*)$/
const IMPOSSIBLE_METHOD = /^(CONNECT|TRACE|TRACK)?$|[^\w!#$%&'*+.^`|~-]/
/** How much of a refusal's body is read, and for how long, to find its error code. */
const PEEK_BYTES = 8192
const PEEK_MS = 5_000

/**
 * Turns the arguments of `session.fetch()` into a request to `/xrpc/` on the PDS, and to nowhere else. Bodies are made
 * repeatable: a server may ask for another nonce after it has read one.
 *
 * @throws {OAuthError} `url_forbidden`, `header_forbidden`
 * @throws {TypeError} For what `fetch` itself would not send.
 */
export async function createResourceRequest(
  pds: string,
  input: string | URL | Request,
  options: RequestInit = {},
): Promise<ResourceRequest> {
  // `fetch` takes a request for its options, too; no member of one is its own.
  const request = options instanceof Request ? options : input
  if (request instanceof Request) {
    const { method, headers, signal, cache, keepalive } = request
    const url = input instanceof Request ? input.url : input
    const body = method === 'GET' || method === 'HEAD' ? null : await request.blob()
    const own = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
    return createResourceRequest(pds, url, { method, headers, signal, cache, keepalive, body, ...own })
  }
  const init = given(options)
  const url = resolveResourceUrl(pds, String(input))
  const headers: Record<string, string> = Object.create(null)
  if (init.headers) {
    new Headers(init.headers).forEach((value, header) => {
      if (RESERVED_HEADER.test(header)) throw oauthError('header_forbidden', { header })
      headers[header] = value
    })
  }
  const method = (init.method ?? 'GET').toUpperCase()
  if (IMPOSSIBLE_METHOD.test(method)) throw new TypeError(`${method} is not a method that can be sent`)
  if (init.body != null && /^(GET|HEAD)$/.test(method)) throw new TypeError(`${method} cannot have a body`)
  const body = init.body == null ? null : await createRepeatableBody(init.body, headers)
  const { signal = null, cache = 'default', keepalive = false, priority = 'auto' } = init
  return { url, method, headers, init: { method, body, signal, cache, keepalive, priority } }
}

function resolveResourceUrl(pds: string, input: string): URL {
  const path = input.startsWith(`${pds}/`) ? input.slice(pds.length) : input
  const shown = withoutQuery(path)
  // Dot segments, back slashes, tabs and the like change the path when it is parsed: what was asked must be what is sent.
  if (METHOD.test(shown)) {
    const url = new URL(path, pds)
    if (url.origin === pds && url.pathname === shown) return url
  }
  throw oauthError('url_forbidden', { url: shown.slice(0, 200), pds })
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

const errors = new WeakMap<Response, Promise<string | undefined>>()

/**
 * The OAuth error of a PDS's answer: from `WWW-Authenticate`, or from the body where CORS hides that header
 * (RFC 9449 §7.1). Read once, however often it is asked for.
 */
export function readResourceError(response: Response): Promise<string | undefined> | undefined {
  const { status, headers } = response
  if (status !== 401 && !(status === 400 && headers.has('dpop-nonce'))) return undefined
  const error = errors.get(response) ?? findError(response)
  errors.set(response, error)
  return error
}

async function findError(response: Response): Promise<string | undefined> {
  const { headers } = response
  const challenge = parseDpopChallenge(headers.get('www-authenticate'))
  if (challenge?.error !== undefined) return challenge.error
  const peek = readText(response.clone(), PEEK_BYTES, response.url).catch(() => '')
  const { error } = parseMembers({ headers, text: (await within(peek, PEEK_MS)) ?? '' })
  return typeof error === 'string' ? error : undefined
}
