import type { DpopContext } from '../dpop/fetch.ts'
import type { Fetch } from '../http.ts'
import type { AuthorizationServer } from '../types.ts'
import { postForm } from './endpoint.ts'

/** Something that tokens were issued to: a session, or a sign-in that is being refused. */
export interface TokenOwner {
  server: AuthorizationServer
  clientId: string
}

/**
 * Asks the server to forget what it issued, by the refresh token where there is one: that one ends the whole session.
 * Best effort; never throws. Whatever the answer says, nothing is proved by it (RFC 7009 §2.2).
 */
export async function revokeTokens(
  fetch: Fetch,
  { server, clientId }: TokenOwner,
  { refreshToken, accessToken }: { refreshToken?: string | undefined; accessToken?: string | undefined },
  dpop: DpopContext,
): Promise<void> {
  const token = refreshToken ?? accessToken
  if (!server.revocationEndpoint || !token) return
  const hint = refreshToken ? 'refresh_token' : 'access_token'
  await postForm(fetch, {
    url: server.revocationEndpoint,
    parameters: { client_id: clientId, token, token_type_hint: hint },
    dpop,
    timeoutMs: 5_000,
    maxBytes: 8_192,
    keepalive: true,
  }).catch(() => {})
}
