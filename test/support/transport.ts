import type { FakeRequest } from './exchange.ts'
import type { Role } from './hosts.ts'
import { decodeProof } from './proofs.ts'

/** What a browser says of every request that got no answer, whatever the reason. */
export function failedToFetch(): TypeError {
  return new TypeError('Failed to fetch')
}

export interface Transport {
  now: () => number
  roleOf: (url: URL) => Role
  /** Called once a request has arrived, before it is answered. */
  arrived: (request: FakeRequest) => void | Promise<void>
  answer: (request: FakeRequest) => Promise<Response>
  /** Called when the client has been given the answer, or an error. */
  settled: (request: FakeRequest) => void
}

/** A `fetch` with a browser's manners about redirects, aborts and opaque responses. */
export function createFetch(transport: Transport): typeof fetch {
  return async (input, init) => {
    const request = new Request(input, init)
    request.signal.throwIfAborted()
    const bytes = await orAbort(request.signal, request.arrayBuffer())
    return send(transport, request, bytes, undefined, 0)
  }
}

async function send(
  transport: Transport,
  request: Request,
  bytes: ArrayBuffer,
  redirectedFrom: number | undefined,
  hops: number,
): Promise<Response> {
  const exchange = await describe(transport, request, bytes, redirectedFrom)
  const { signal } = request
  let response: Response
  try {
    signal.throwIfAborted()
    response = await orAbort(
      signal,
      (async () => {
        await transport.arrived(exchange)
        const answer = await transport.answer(exchange)
        if (answer.type === 'error') throw failedToFetch()
        return answer
      })(),
    )
  } catch (error) {
    exchange.outcome = signal.aborted ? 'aborted' : 'failed'
    transport.settled(exchange)
    throw error
  }
  exchange.outcome = 'answered'
  exchange.response = { status: response.status, headers: new Headers(response.headers) }
  transport.settled(exchange)

  const location = response.headers.get('location')
  if (![301, 302, 303, 307, 308].includes(response.status) || location === null) {
    return dress(response, exchange, signal, hops > 0)
  }
  if (request.redirect === 'manual') return opaqueRedirect(request.url)
  if (request.redirect === 'error' || hops === 20) throw failedToFetch()
  const next = followed(request, bytes, response.status, new URL(location, request.url))
  return send(transport, next.request, next.bytes, exchange.id, hops + 1)
}

async function describe(
  transport: Transport,
  request: Request,
  buffer: ArrayBuffer,
  redirectedFrom: number | undefined,
): Promise<FakeRequest> {
  const url = new URL(request.url)
  const bytes = new Uint8Array(buffer)
  const text = new TextDecoder().decode(bytes)
  const isForm = request.headers.get('content-type')?.startsWith('application/x-www-form-urlencoded') === true
  const form = isForm ? Object.fromEntries(new URLSearchParams(text)) : {}
  const proof = request.headers.get('dpop')
  return {
    id: -1,
    role: transport.roleOf(url),
    method: request.method,
    url: request.url,
    origin: url.origin,
    path: url.pathname,
    query: url.searchParams,
    headers: new Headers(request.headers),
    bytes,
    text,
    form,
    grantType: form.grant_type,
    proof: proof === null ? undefined : await decodeProof(proof),
    accessToken: /^DPoP (.+)$/.exec(request.headers.get('authorization') ?? '')?.[1],
    credentials: request.credentials,
    mode: request.mode,
    redirect: request.redirect,
    cache: request.cache,
    referrerPolicy: request.referrerPolicy,
    referrer: request.referrer,
    keepalive: request.keepalive,
    signal: request.signal,
    at: transport.now(),
    redirectedFrom,
    outcome: 'open',
    response: undefined,
    responseText: '',
    bytesDelivered: 0,
    bodyCancelled: false,
  }
}

/** The request after a redirect: browsers drop `Authorization` across origins, and nothing else. */
function followed(
  request: Request,
  bytes: ArrayBuffer,
  status: number,
  target: URL,
): { request: Request; bytes: ArrayBuffer } {
  const { method } = request
  const becomesGet =
    status === 303 ? method !== 'HEAD' : (status === 301 || status === 302) && method === 'POST'
  const headers = new Headers(request.headers)
  if (target.origin !== new URL(request.url).origin) headers.delete('authorization')
  if (becomesGet) {
    for (const name of ['content-type', 'content-length', 'content-encoding', 'content-language'])
      headers.delete(name)
  }
  const body = becomesGet ? new ArrayBuffer(0) : bytes
  const init: RequestInit = {
    method: becomesGet ? 'GET' : method,
    headers,
    credentials: request.credentials,
    redirect: request.redirect,
    cache: request.cache,
    referrerPolicy: request.referrerPolicy,
    signal: request.signal,
    ...(body.byteLength > 0 && { body }),
  }
  return { request: new Request(target, init), bytes: body }
}

function opaqueRedirect(url: string): Response {
  const response = Response.error()
  Object.defineProperties(response, { type: { value: 'opaqueredirect' }, url: { value: url } })
  return response
}

/** Gives an answer the properties only a network can give, and a body that counts and can be aborted. */
function dress(
  response: Response,
  exchange: FakeRequest,
  signal: AbortSignal,
  redirected: boolean,
): Response {
  const { status, statusText, headers } = response
  const body = response.body && meteredBody(response.body, exchange, signal)
  const dressed = new Response(body, { status, statusText, headers })
  Object.defineProperties(dressed, {
    url: { value: exchange.url },
    type: { value: exchange.role === 'app' ? 'basic' : 'cors' },
    redirected: { value: redirected },
  })
  return dressed
}

function meteredBody(
  source: ReadableStream<Uint8Array<ArrayBuffer>>,
  exchange: FakeRequest,
  signal: AbortSignal,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const reader = source.getReader()
  let finished = false
  const giveUp = async (reason: unknown): Promise<void> => {
    if (finished) return
    exchange.bodyCancelled = true
    await reader.cancel(reason)
  }
  return new ReadableStream(
    {
      start(controller) {
        const abort = (): void => {
          controller.error(signal.reason)
          giveUp(signal.reason).catch(() => {})
        }
        if (signal.aborted) abort()
        else signal.addEventListener('abort', abort, { once: true })
      },
      async pull(controller) {
        const { done, value } = await reader.read()
        if (signal.aborted) return
        if (done) {
          finished = true
          return controller.close()
        }
        exchange.bytesDelivered += value.byteLength
        if (exchange.responseText.length < 8192)
          exchange.responseText += new TextDecoder().decode(value).slice(0, 8192)
        controller.enqueue(value)
      },
      cancel: giveUp,
    },
    { highWaterMark: 0 },
  )
}

/** The work goes on at the server; the client just stops hearing of it. */
function orAbort<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason)
    signal.addEventListener('abort', abort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
