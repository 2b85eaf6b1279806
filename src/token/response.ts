import { type BoundedResponse, parseJson, parseMembers } from '../http.ts'
import type { TokenSet } from '../types.ts'

const MAX_LENGTH = 16_384
const MAX_LIFETIME_S = 86_400

/** A token answer taken apart. It holds whatever was issued, also when `issues` says that it must not be used. */
export interface TokenResponse {
  accessToken: string | undefined
  refreshToken: string | undefined
  /** The account, as the server names it. */
  sub: string
  scope: string
  lifetimeMs: number | undefined
  issues: string[]
}

/**
 * Reads the members of a token answer that the profile speaks of; everything else is left alone.
 *
 * @see https://www.rfc-editor.org/rfc/rfc6749#section-5.1
 */
export function parseTokenResponse(response: BoundedResponse): TokenResponse {
  // Also what came as something else was issued: it is read to be revoked.
  const json = new Headers({ 'content-type': 'application/json' })
  const body = parseMembers({ ...response, headers: json })
  const word = (name: string, pattern = /^[\x21-\x7e]+$/) => {
    const value = body[name]
    return typeof value === 'string' && value.length <= MAX_LENGTH && pattern.test(value) ? value : undefined
  }
  const accessToken = word('access_token')
  const seconds = Number(
    word('expires_in', /^\d{1,5}$/) ?? (typeof body.expires_in === 'number' ? body.expires_in : undefined),
  )
  const issues = []
  if (response.status !== 200) issues.push(`status ${response.status}`)
  if (!accessToken) issues.push('access_token')
  if (parseJson(response) === undefined) issues.push('not JSON')
  if (word('token_type')?.toLowerCase() !== 'dpop') issues.push('token_type')
  return {
    accessToken,
    // A space is legal in one (RFC 6749 appendix A.17).
    refreshToken: word('refresh_token', /^[\x20-\x7e]+$/),
    sub: word('sub') ?? '',
    scope: word('scope', /./) ?? '',
    lifetimeMs:
      Number.isInteger(seconds) && seconds > 0 && seconds <= MAX_LIFETIME_S ? seconds * 1000 : undefined,
    issues,
  }
}

/** @param requestedAt - When the request was sent: the server's clock started no earlier. */
export function createTokenSet(response: TokenResponse, requestedAt: number): TokenSet {
  const { accessToken = '', refreshToken, scope, lifetimeMs } = response
  return {
    accessToken,
    refreshToken,
    scope,
    issuedAt: requestedAt,
    expiresAt: lifetimeMs && requestedAt + lifetimeMs,
  }
}

/** Whether a space-separated scope holds a value, by whole words. */
export function includesScope(scope: string, value: string): boolean {
  return scope.split(' ').includes(value)
}
