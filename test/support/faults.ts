import { randomBytes } from 'node:crypto'
import type { FakeRequest } from './exchange.ts'
import { json, oauthErrorResponse, xrpcError } from './respond.ts'
import { failedToFetch } from './transport.ts'

/**
 * Answers a request in the place of its server. `next()` gives what would have been answered without
 * this handler (by an earlier one, in the end by the honest server), with all its effects.
 */
export type Handler = (request: FakeRequest, next: () => Promise<Response>) => Response | Promise<Response>

/** The request never arrives: offline, DNS, refused by CORS. */
export const unreachable = (): Handler => () => {
  throw failedToFetch()
}

/** The server does its work, and its answer is lost on the way. */
export const loseAnswer = (): Handler => async (_request, next) => {
  await next()
  throw failedToFetch()
}

/** The request never arrives and nothing ever comes back; ends only when the client aborts. */
export const hang = (): Handler => () => new Promise<never>(() => {})

export interface Hold {
  readonly handler: Handler
  /** Resolves when the first request is being held. */
  readonly reached: Promise<void>
  /** Lets everything held, and all that follows, through. */
  release(): void
}

/**
 * Holds requests until told otherwise, to put an exact moment into a test instead of a sleep.
 *
 * @param options.after - Hold the answer after the server did its work, instead of the request before.
 */
export function hold(options: { after?: boolean } = {}): Hold {
  let release = (): void => {}
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  let arrive = (): void => {}
  const reached = new Promise<void>((resolve) => {
    arrive = resolve
  })
  return {
    reached,
    release: () => release(),
    handler: async (_request, next) => {
      const answer = options.after ? await next() : undefined
      arrive()
      await released
      return answer ?? next()
    },
  }
}

/** A fixed answer instead of the honest one. */
export const answer =
  (value: unknown, init?: { status?: number; headers?: HeadersInit }): Handler =>
  () =>
    json(value, init)

/** Any text, any type. */
export const text =
  (body: string, contentType = 'text/plain', status = 200): Handler =>
  () =>
    new Response(body, { status, headers: { 'content-type': contentType } })

export const html = (status = 200, body = '<!doctype html><h1>Bad gateway</h1>'): Handler =>
  text(body, 'text/html; charset=utf-8', status)

/** A bare status. 204, 205 and 304 have no body. */
export const status =
  (code: number, body?: unknown, headers: HeadersInit = {}): Handler =>
  () =>
    body === undefined ? new Response(null, { status: code, headers }) : json(body, { status: code, headers })

/** An OAuth error, with a nonce as the honest server would add. The request is not processed. */
export const oauthError =
  (error: string, options: { status?: number; description?: string; headers?: HeadersInit } = {}): Handler =>
  () =>
    withHeaders(oauthErrorResponse(error, options.description, options.status ?? 400), {
      'dpop-nonce': freshNonce(),
      ...Object.fromEntries(new Headers(options.headers)),
    })

/** Sends the browser elsewhere. The request is not processed. */
export const redirectTo =
  (location: string, code = 302): Handler =>
  () =>
    new Response(null, { status: code, headers: { location } })

/**
 * The honest answer with its JSON body altered: `change` may mutate it, or return another value.
 * Status and headers stay.
 */
export const changeJson =
  // biome-ignore lint/suspicious/noExplicitAny: a test reaches into whatever the server answered
    (change: (body: any, request: FakeRequest) => unknown): Handler =>
    async (request, next) => {
      const response = await next()
      const body: unknown = await response.json()
      const changed = change(body, request)
      return new Response(JSON.stringify(changed === undefined ? body : changed), {
        status: response.status,
        headers: response.headers,
      })
    }

/** The honest answer with headers set, or removed where the value is `null`. */
export const changeHeaders =
  (headers: Record<string, string | null>): Handler =>
  async (_request, next) =>
    withHeaders(await next(), headers)

/** The honest answer with another status. */
export const changeStatus =
  (code: number): Handler =>
  async (_request, next) => {
    const { body, headers } = await next()
    return new Response(body, { status: code, headers })
  }

/** The honest answer without `DPoP-Nonce`. */
export const noNonce = (): Handler => changeHeaders({ 'dpop-nonce': null })

/** Demands a nonce; the request is not processed. Shape as the reference servers have it. */
export const demandNonce =
  (nonce: string | null = freshNonce()): Handler =>
  (request) => {
    const refusal =
      request.role === 'pds' || request.role === 'pds2'
        ? xrpcError(401, 'use_dpop_nonce', 'Resource server requires nonce in DPoP proof', {
            'www-authenticate': 'DPoP algs="ES256", error="use_dpop_nonce"',
          })
        : oauthErrorResponse('use_dpop_nonce', 'Authorization server requires nonce in DPoP proof')
    return withHeaders(refusal, { 'dpop-nonce': nonce })
  }

/** Demands another nonce every time. */
export const nonceLoop = (): Handler => (request, next) => demandNonce()(request, next)

/** A body that never ends, as fast as the client reads it. */
export const endlessBody = (contentType = 'application/json', chunk = ' '.repeat(1024)): Handler =>
  stream(contentType, (controller) => controller.enqueue(new TextEncoder().encode(chunk)))

/** A body that begins and then stalls until the client aborts. */
export const stalledBody =
  (contentType = 'application/json', beginning = '{'): Handler =>
  (request, next) => {
    let begun = false
    return stream(contentType, (controller) => {
      if (begun) return new Promise<void>(() => {})
      begun = true
      return controller.enqueue(new TextEncoder().encode(beginning))
    })(request, next)
  }

/** The honest answer, its body breaking off after `length` bytes. */
export const truncatedBody =
  (length: number): Handler =>
  async (request, next) => {
    const response = await next()
    const bytes = new Uint8Array(await response.arrayBuffer()).slice(0, length)
    let begun = false
    const broken = await stream('', (controller) => {
      if (begun) return controller.error(failedToFetch())
      begun = true
      return controller.enqueue(bytes)
    })(request, next)
    return new Response(broken.body, { status: response.status, headers: response.headers })
  }

/** Each handler answers one request, in turn; afterwards the server is honest again. */
export function sequence(...handlers: readonly Handler[]): Handler {
  let turn = 0
  return (request, next) => handlers[turn++]?.(request, next) ?? next()
}

export function withHeaders(response: Response, headers: Record<string, string | null>): Response {
  const changed = new Headers(response.headers)
  for (const [name, value] of Object.entries(headers)) {
    if (value === null) changed.delete(name)
    else changed.set(name, value)
  }
  return new Response(response.body, { status: response.status, headers: changed })
}

function freshNonce(): string {
  return randomBytes(24).toString('base64url')
}

type Controller = ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>

function stream(contentType: string, pull: (controller: Controller) => void | Promise<void>): Handler {
  return () =>
    new Response(new ReadableStream<Uint8Array<ArrayBuffer>>({ pull }, { highWaterMark: 0 }), {
      headers: { 'content-type': contentType },
    })
}
