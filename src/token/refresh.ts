import type { DpopContext } from '../dpop/fetch.ts'
import type { BoundedResponse, Fetch } from '../http.ts'
import type { SessionRecord } from '../types.ts'
import { postForm } from './endpoint.ts'

/** Sends a refresh token, once; repeated only where the server asks for another nonce or time (RFC 6749 §6). */
export function fetchRefreshedTokens(
  fetch: Fetch,
  record: SessionRecord,
  dpop: DpopContext,
): Promise<BoundedResponse> {
  const { server, tokens, clientId } = record
  return postForm(fetch, {
    url: server.tokenEndpoint,
    parameters: { grant_type: 'refresh_token', refresh_token: tokens.refreshToken, client_id: clientId },
    dpop,
    timeoutMs: 30_000,
    maxBytes: 65_536,
  })
}
