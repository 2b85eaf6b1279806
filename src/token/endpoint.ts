import { type DpopContext, sendWithProof } from '../dpop/fetch.ts'
import { oauthError } from '../errors.ts'
import { type BoundedResponse, type Fetch, fetchBounded, parseMembers, withoutQuery } from '../http.ts'

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

/** An answer, with what it says of an error (RFC 6749 §5.2) when its status is one. */
export interface EndpointResponse extends BoundedResponse, OAuthProblem {}

/** `error` and `error_description` of a body or a query, cut and cleaned so that they can be shown and logged. */
export interface OAuthProblem {
  /** `undefined` when it is missing or nothing that an error code looks like. */
  error?: string | undefined
  description?: string | undefined
}

/** Makes one form POST to an endpoint of the authorization server and returns its answer, whatever the status. */
export async function postForm(fetch: Fetch, request: EndpointRequest): Promise<EndpointResponse> {
  const { url, parameters, dpop, nonceRetries = 1, timeoutMs, ...limits } = request
  let leftMs = timeoutMs
  const given = Object.entries(parameters).filter((entry): entry is [string, string] => !!entry[1])
  const body = String(new URLSearchParams(given))
  const accept = 'application/json'
  const headers = { accept, 'content-type': 'application/x-www-form-urlencoded' }
  const send = async (proof?: string): Promise<EndpointResponse> => {
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
    if (proof) secrets.push(proof)
    const said = answer.text.length > ERROR_BODY_BYTES ? {} : parseMembers(answer)
    return { ...answer, ...parseOAuthProblem(said, secrets) }
  }
  if (!dpop) return send()
  return sendWithProof(dpop, {
    method: 'POST',
    url: new URL(url),
    ath: undefined,
    expectsNonce: true,
    nonceRetries,
    send,
    readError: ({ error }) => error,
  })
}

/** @param secrets - What must not be told again, should the description echo it, as it is or encoded. */
export function parseOAuthProblem(
  { error, error_description: text }: Record<string, unknown>,
  secrets: readonly string[] = [],
): OAuthProblem {
  // Before secrets are looked for: what is taken out here may stand in the middle of one.
  let description = typeof text === 'string' ? text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '') : undefined
  for (const secret of secrets)
    for (const spelling of [
      secret,
      encodeURIComponent(secret),
      `${new URLSearchParams({ '': secret })}`.slice(1),
    ])
      description = description?.replaceAll(spelling, '…')
  const isCode =
    typeof error === 'string' &&
    /^[\w.:/-]{1,64}$/.test(error) &&
    !secrets.some((secret) => secret.length > 15 && error.includes(secret))
  return { error: isCode ? error : undefined, description: description?.slice(0, 512) }
}

/** The error for an answer that is not a success: `dpop_rejected` or `token_request_failed`. */
export function refuse(response: EndpointResponse, issuer: string, now: number): Error {
  const { error, description } = response
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
