import { type BoundedResponse, parseJson } from '../http.ts'
import type { TokenSet } from '../types.ts'

const MAX_TOKEN_LENGTH = 16_384
const MAX_LIFETIME_S = 86_400
/** Visible ASCII: what can stand in a header. */
const TOKEN = /^[\x21-\x7e]+$/

/** A token answer taken apart. `tokens` holds whatever was issued, also when `issues` says that it must not be used. */
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
  const body = Object(parseJson(response)) as Record<string, unknown>
  const own = (name: string) => (Object.hasOwn(body, name) ? body[name] : undefined)
  const tokenType = own('token_type')
  const scope = own('scope')
  const sub = own('sub')
  const accessToken = parseToken(own('access_token'))
  const issues: string[] = []
  if (response.status !== 200) issues.push(`status ${response.status}`)
  if (!accessToken) issues.push('access_token')
  if (typeof tokenType !== 'string' || tokenType.toLowerCase() !== 'dpop') issues.push('token_type')
  if (typeof sub !== 'string') issues.push('sub')
  return {
    accessToken,
    refreshToken: parseToken(own('refresh_token')),
    sub: typeof sub === 'string' ? sub : '',
    scope: typeof scope === 'string' && scope.length <= MAX_TOKEN_LENGTH ? scope : '',
    lifetimeMs: parseLifetime(own('expires_in')),
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
    expiresAt: lifetimeMs === undefined ? undefined : requestedAt + lifetimeMs,
  }
}

/** Whether a space-separated scope holds a value, by whole words. */
export function includesScope(scope: string, value: string): boolean {
  return scope.split(' ').includes(value)
}

function parseToken(value: unknown): string | undefined {
  return typeof value === 'string' && value.length <= MAX_TOKEN_LENGTH && TOKEN.test(value)
    ? value
    : undefined
}

function parseLifetime(value: unknown): number | undefined {
  const seconds = typeof value === 'string' && /^\d{1,5}$/.test(value) ? Number(value) : value
  return Number.isInteger(seconds) && (seconds as number) >= 1 && (seconds as number) <= MAX_LIFETIME_S
    ? (seconds as number) * 1000
    : undefined
}
