import { type DpopContext, sendWithProof } from '../dpop/fetch.ts'
import { oauthError } from '../errors.ts'
import { type BoundedResponse, type Fetch, fetchBounded, parseJson, withoutQuery } from '../http.ts'

export interface EndpointRequest {
  url: string
  /** Members that are `undefined` are left out. */
  parameters: Record<string, string | undefined>
  /** `undefined` sends no proof: a pushed authorization request may carry `dpop_jkt` instead (RFC 9449 §10.1). */
  dpop: DpopContext | undefined
  /** For all attempts together. */
  timeoutMs: number
  maxBytes: number
  keepalive?: boolean
  /** Passed on to {@link sendWithProof}. */
  nonceRetries?: number
  signal?: AbortSignal | undefined
}

const ERROR_BODY_BYTES = 8192
/** Parameters that an error answer must not carry on into errors and logs. */
const SECRETS = ['code', 'code_verifier', 'refresh_token', 'token']
const MAX_RETRY_AFTER_MS = 86_400_000

/** Makes one form POST to an endpoint of the authorization server and returns its answer, whatever the status. */
export async function postForm(fetch: Fetch, request: EndpointRequest): Promise<BoundedResponse> {
  const { url, parameters, dpop, nonceRetries = 1, timeoutMs, ...limits } = request
  let leftMs = timeoutMs
  const given = Object.entries(parameters).filter((entry): entry is [string, string] => !!entry[1])
  const body = String(new URLSearchParams(given))
  const accept = 'application/json'
  const headers = { accept, 'content-type': 'application/x-www-form-urlencoded' }
  const send = async (proof?: string) => {
    const startedAt = performance.now()
    const answer = await fetchBounded(fetch, url, {
      ...limits,
      timeoutMs: leftMs,
      method: 'POST',
      body,
      headers: proof ? { ...headers, dpop: proof } : headers,
    })
    leftMs = Math.max(0, leftMs - (performance.now() - startedAt))
    if (answer.status < 400) return answer
    const secrets = given.flatMap(([name, value]) => (SECRETS.includes(name) ? value : []))
    return { ...answer, text: secrets.reduce((text, secret) => text.replaceAll(secret, '…'), answer.text) }
  }
  if (!dpop) return send()
  const readError = (answer: BoundedResponse) => readOAuthError(answer).error
  return sendWithProof(dpop, {
    method: 'POST',
    url: new URL(url),
    expectsNonce: true,
    nonceRetries,
    send,
    readError,
  })
}

/** What an error answer says (RFC 6749 §5.2), cut and cleaned so that it can be shown and logged. */
export function readOAuthError(response: BoundedResponse): {
  error?: string | undefined
  description?: string | undefined
} {
  return response.status < 400 || response.text.length > ERROR_BODY_BYTES
    ? {}
    : parseOAuthError(parseJson(response))
}

/** `error` and `error_description` of a body or a query. */
export function parseOAuthError(value: unknown): {
  error?: string | undefined
  description?: string | undefined
} {
  const { error, error_description: description } = Object(value)
  return {
    error: typeof error === 'string' && /^[a-z0-9_]{1,64}$/.test(error) ? error : undefined,
    description:
      typeof description === 'string' ? description.slice(0, 512).replace(/[\p{Cc}\p{Cf}]/gu, '') : undefined,
  }
}

/** The error for an answer that is not a success: `dpop_rejected` or `token_request_failed`. */
export function refuse(response: BoundedResponse, issuer: string, now: number): Error {
  const { error, description } = readOAuthError(response)
  const facts = { issuer, url: withoutQuery(response.url), status: response.status, oauthError: error }
  const code =
    error === 'use_dpop_nonce' || error === 'invalid_dpop_proof' ? 'dpop_rejected' : 'token_request_failed'
  return oauthError(code, {
    ...facts,
    oauthErrorDescription: description,
    retryAfterMs: retryAfterMs(response.headers, now),
  })
}

/** `Retry-After` in milliseconds, given in seconds or as a date. */
function retryAfterMs(headers: Headers, now: number): number | undefined {
  const value = headers.get('retry-after') ?? ''
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now
  return ms >= 0 ? Math.min(ms, MAX_RETRY_AFTER_MS) : undefined
}
