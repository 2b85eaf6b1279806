import { oauthError } from '../errors.ts'
import { parseOAuthProblem } from '../token/endpoint.ts'
import type { PendingAuthorization } from '../types.ts'

/** An answer to an authorization request, taken apart but not believed. */
export interface AuthorizationResponse {
  state: string
  iss: string | undefined
  code: string | undefined
  error: string | undefined
  errorDescription: string | undefined
}

const NAMES = ['state', 'iss', 'code', 'error', 'error_description', 'response', 'access_token', 'id_token']
const MAX_LENGTH = 16_384
const MAX_CODE_LENGTH = 4_096
/** What `createAuthorization` makes: 32 bytes, base64url. */
const STATE = /^[\w-]{43}$/

/**
 * Reads the answer from a callback URL's query or fragment, whichever has it.
 *
 * @throws {OAuthError} `callback_invalid` for parameters that are missing, empty, doubled, too long or contradictory.
 *
 * @see https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2
 */
export function parseAuthorizationResponse(url: URL): AuthorizationResponse {
  if (url.search.length + url.hash.length > MAX_LENGTH) throw invalid('too long')
  const parts = [url.searchParams, new URLSearchParams(url.hash.slice(1))].filter((part) => part.has('state'))
  const [parameters] = parts
  if (!parameters) throw invalid('state: missing')
  if (parts.length > 1) throw invalid('state: in query and fragment')
  for (const name of NAMES) {
    const values = parameters.getAll(name)
    if (values.length > 1) throw invalid(`${name}: more than once`)
    if (values[0] === '' && name !== 'error_description') throw invalid(`${name}: empty`)
  }
  const get = (name: string) => parameters.get(name) ?? undefined
  const state = get('state') ?? ''
  const code = get('code')
  if (!STATE.test(state)) throw invalid('state: not one of ours')
  if (get('response') ?? get('access_token') ?? get('id_token'))
    throw invalid('a kind of answer that was not asked for')
  if (code !== undefined && get('error') !== undefined) throw invalid('code and error together')
  if (code === undefined && get('error') === undefined) throw invalid('neither code nor error')
  if (code !== undefined && (code.length > MAX_CODE_LENGTH || !/^[\x20-\x7e]+$/.test(code)))
    throw invalid('code: malformed')
  const { error, description } = parseOAuthProblem(Object.fromEntries(parameters))
  return { state, iss: get('iss'), code, error, errorDescription: description }
}

/**
 * Holds an answer against what is kept of its request, the issuer first: until that is right, nothing else in it means
 * anything, an error included (RFC 9207 §2.4).
 *
 * @returns The authorization code.
 * @throws {OAuthError} `issuer_mismatch`, `authorization_refused`
 */
export function verifyAuthorizationResponse(
  response: AuthorizationResponse,
  pending: PendingAuthorization,
): string {
  const { issuer } = pending.server
  const { iss, code, error = 'unknown', errorDescription } = response
  if (iss !== issuer) throw oauthError('issuer_mismatch', { expected: issuer, received: iss?.slice(0, 512) })
  if (code !== undefined) return code
  throw oauthError('authorization_refused', {
    issuer,
    oauthError: error,
    oauthErrorDescription: errorDescription,
  })
}

function invalid(issue: string): Error {
  return oauthError('callback_invalid', { issues: [issue] })
}
