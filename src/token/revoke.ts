import type { DpopContext } from '../dpop/fetch.ts'
import type { Fetch } from '../http.ts'
import type { AuthorizationServer } from '../types.ts'
import { postForm } from './endpoint.ts'

export interface Revocation {
  server: AuthorizationServer
  clientId: string
  refreshToken: string | undefined
  accessToken: string | undefined
}

/**
 * Asks the server to forget what it issued, by the refresh token where there is one: that one ends the whole session.
 * Best effort; never throws. Whatever the answer says, nothing is proved by it (RFC 7009 §2.2).
 */
export async function revokeTokens(fetch: Fetch, revocation: Revocation, dpop: DpopContext): Promise<void> {
  const { server, clientId, refreshToken, accessToken } = revocation
  const token = refreshToken ?? accessToken
  if (!server.revocationEndpoint || !token) return
  try {
    await postForm(fetch, {
      url: server.revocationEndpoint,
      server,
      parameters: {
        client_id: clientId,
        token,
        token_type_hint: refreshToken ? 'refresh_token' : 'access_token',
      },
      dpop,
      timeoutMs: 5_000,
      maxBytes: 8_192,
      keepalive: true,
    })
  } catch {
    // The session is gone on this device either way.
  }
}
