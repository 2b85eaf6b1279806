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
  return postForm(fetch, {
    url: record.server.tokenEndpoint,
    server: record.server,
    parameters: {
      grant_type: 'refresh_token',
      refresh_token: record.tokens.refreshToken,
      client_id: record.clientId,
    },
    dpop,
    timeoutMs: 30_000,
    maxBytes: 65_536,
  })
}
