import { type DpopContext, sendWithProof } from '../dpop/fetch.ts'
import { oauthError } from '../errors.ts'
import {
  type BoundedResponse,
  type Fetch,
  fetchBounded,
  parseJson,
  retryAfterMs,
  withoutQuery,
} from '../http.ts'
import type { AuthorizationServer } from '../types.ts'

export interface EndpointRequest {
  url: string
  server: AuthorizationServer
  parameters: Record<string, string | undefined>
  /** `undefined` sends no proof: a pushed authorization request may carry `dpop_jkt` instead (RFC 9449 §10.1). */
  dpop: DpopContext | undefined
  timeoutMs: number
  maxBytes: number
  keepalive?: boolean
  signal?: AbortSignal | undefined
}

const ERROR_BODY_BYTES = 8192

/** Makes one form POST to an endpoint of the authorization server and returns its answer, whatever the status. */
export async function postForm(fetch: Fetch, request: EndpointRequest): Promise<BoundedResponse> {
  const { url, parameters, dpop, signal, ...limits } = request
  const body = new URLSearchParams(
    Object.entries(parameters).filter((entry): entry is [string, string] => entry[1] !== undefined),
  ).toString()
  const send = (proof?: string) =>
    fetchBounded(fetch, url, {
      method: 'POST',
      headers: {
        accept: 'application/json',
        'content-type': 'application/x-www-form-urlencoded',
        ...(proof && { dpop: proof }),
      },
      body,
      signal,
      timeoutMs: limits.timeoutMs,
      maxBytes: limits.maxBytes,
      keepalive: limits.keepalive ?? false,
    })
  if (!dpop) return send()
  return sendWithProof(dpop, { method: 'POST', url: new URL(url), send, readError: readOAuthError })
}

/** The `error` member of an error answer (RFC 6749 §5.2). */
export function readOAuthError(response: BoundedResponse): string | undefined {
  return readErrorBody(response).error
}

/** @throws {OAuthError} `token_request_failed`, `dpop_rejected`: what an answer that is not a success says. */
export function refuse(response: BoundedResponse, server: AuthorizationServer, now: number): Error {
  const { error, description } = readErrorBody(response)
  const url = withoutQuery(response.url)
  const { status } = response
  if (error === 'use_dpop_nonce' || error === 'invalid_dpop_proof') {
    return oauthError('dpop_rejected', `${url} refused the proof: ${error}`, {
      url,
      status,
      oauthError: error,
    })
  }
  return oauthError(
    'token_request_failed',
    `${url} answered ${status} ${error ?? 'without an OAuth error'}`,
    {
      issuer: server.issuer,
      url,
      status,
      oauthError: error,
      oauthErrorDescription: description,
      retryAfterMs: retryAfterMs(response.headers, now),
    },
  )
}

function readErrorBody(response: BoundedResponse): {
  error?: string | undefined
  description?: string | undefined
} {
  if (response.status < 400 || response.text.length > ERROR_BODY_BYTES) return {}
  return parseErrorMembers(parseJson(response))
}

/** `error` and `error_description` of a body or a query, cut and cleaned so that they can be shown and logged. */
export function parseErrorMembers(value: unknown): {
  error?: string | undefined
  description?: string | undefined
} {
  const { error, error_description: description } = Object(value) as Record<string, unknown>
  return {
    error: typeof error === 'string' && /^[a-z0-9_]{1,64}$/.test(error) ? error : undefined,
    description: typeof description === 'string' ? cleanText(description) : undefined,
  }
}

function cleanText(text: string): string {
  return text.slice(0, 512).replace(/[\p{Cc}\p{Cf}]/gu, '')
}
