import type { DpopContext } from '../dpop/fetch.ts'
import { oauthError } from '../errors.ts'
import { parseDid } from '../identity/identifier.ts'
import { runStep, type StepContext } from '../steps.ts'
import { postForm, refuse } from '../token/endpoint.ts'
import { createTokenSet, includesScope, parseTokenResponse } from '../token/response.ts'
import { revokeTokens } from '../token/revoke.ts'
import type { Did, PendingAuthorization, SessionRecord, TokenSet } from '../types.ts'

/** Tokens, and the account that the server says they are for: not believed until {@link verifySubject} has looked. */
export interface IssuedTokens {
  tokens: TokenSet
  sub: Did
}

/**
 * Redeems the code, once: a code that is sent again makes the reference server end the session.
 *
 * @throws {OAuthError} `token_request_failed`, `token_response_invalid`, `scope_missing`, `dpop_rejected`, or a
 *   transport code. What was issued with an answer that is refused has been revoked.
 *
 * @see https://www.rfc-editor.org/rfc/rfc6749#section-4.1.3
 */
export function exchangeCode(
  code: string,
  pending: PendingAuthorization,
  dpop: DpopContext,
  context: StepContext,
): Promise<IssuedTokens> {
  const { server, clientId } = pending
  return runStep(context, 'exchange_code', async () => {
    const requestedAt = context.now()
    const response = await postForm(context.fetch, {
      url: server.tokenEndpoint,
      parameters: {
        grant_type: 'authorization_code',
        code,
        code_verifier: pending.codeVerifier,
        redirect_uri: pending.redirectUri,
        client_id: clientId,
      },
      dpop,
      timeoutMs: 30_000,
      maxBytes: 65_536,
    })
    if (response.status >= 400) throw refuse(response, server.issuer, context.now())
    const answer = parseTokenResponse(response)
    const { issues, scope } = answer
    const sub = readSubject(answer.sub, context.allowHttp)
    if (!sub) issues.push('sub')
    if (issues.length || !sub || !includesScope(scope, 'atproto')) {
      await revokeTokens(context.fetch, pending, answer, dpop)
      throw issues.length
        ? oauthError('token_response_invalid', { issuer: server.issuer, issues })
        : oauthError('scope_missing', { requested: pending.scope, granted: scope.slice(0, 512) })
    }
    return { tokens: createTokenSet(answer, requestedAt), sub }
  })
}

function readSubject(sub: string, allowHttp: boolean): Did | undefined {
  try {
    return parseDid(sub, allowHttp)
  } catch {
    return undefined
  }
}

/** The record of a session that begins. */
export function createSessionRecord(
  { tokens, sub }: IssuedTokens,
  pending: PendingAuthorization,
  account: { handle: string | undefined; pds: string },
  now: number,
): SessionRecord {
  return {
    ...account,
    did: sub,
    server: pending.server,
    clientId: pending.clientId,
    dpopKey: pending.dpopKey,
    tokens,
    generation: 0,
    createdAt: now,
    lastUsedAt: now,
    verifiedAt: account.handle === undefined ? 0 : now,
    refreshAttempt: undefined,
    ended: undefined,
    movedTo: undefined,
  }
}
