import type { DpopContext } from '../dpop/fetch.ts'
import { isOAuthError, type OAuthError, oauthError, type SessionEndReason } from '../errors.ts'
import type { BoundedResponse } from '../http.ts'
import { type StoredSession, updateSession } from '../storage/sessions.ts'
import { refuse } from '../token/endpoint.ts'
import { fetchRefreshedTokens } from '../token/refresh.ts'
import { createTokenSet, includesScope, parseTokenResponse } from '../token/response.ts'
import { revokeTokens } from '../token/revoke.ts'
import type { EndedStatus, SessionRecord, TokenSet } from '../types.ts'
import type { SessionContext } from './context.ts'
import { hasLocks, withLock } from './locks.ts'

/** Longest time a refresh takes from its marker to its answer; an older marker belongs to a page that is gone. */
const ATTEMPT_MS = 45_000
const POLL_MS = 250
/** A wait this short is waited out instead of failing the call. */
const SHORT_WAIT_MS = 2_000
const MAX_BACKOFF_MS = 300_000
/** A public client's session ends this long after sign-in, however often it is refreshed. */
export const SESSION_LIFETIME_MS: number = 14 * 86_400_000

/**
 * Why a refresh is wanted. `ahead` of expiry it gives way to whatever is uncertain; `due` when the token no longer
 * works; `asked` by the app, regardless of back-off.
 */
export type RefreshUrgency = 'ahead' | 'due' | 'asked'

/**
 * Replaces a session's tokens, once per origin however many tabs ask.
 *
 * A refresh token works once. So the request runs under a lock shared by all tabs, a marker is stored before it is
 * sent, and its tokens are on disk before anybody uses them. Correctness does not rest on the lock: marker and tokens
 * are only ever written over the refresh token they belong to. A tab that waited adopts the other tab's tokens. The
 * session ends when the server refuses the refresh token and nobody holds a newer one; after any other failure the
 * stored session stays and the call may be repeated.
 *
 * @param stale - The session as the caller last saw it.
 * @throws {OAuthError} `session_ended`, `storage_failed`, `token_response_invalid`, `token_request_failed`,
 *   `dpop_rejected`, or a transport code.
 *
 * @see https://atproto.com/specs/oauth#tokens-and-session-lifetime
 */
export function refreshSession(
  context: SessionContext,
  stale: SessionRecord,
  dpop: DpopContext,
  urgency: RefreshUrgency,
): Promise<SessionRecord> {
  return withLock(`${context.name}:${stale.did}`, async () => {
    const { record, uncertain } = await claim(context, stale, urgency)
    if (record.tokens.accessToken !== stale.tokens.accessToken) return record

    const requestedAt = context.now()
    let response: BoundedResponse
    try {
      response = await fetchRefreshedTokens(context.fetch, record, dpop)
      if (response.status !== 200) throw refuse(response, record.server, context.now())
    } catch (cause) {
      return settleFailure(context, record, cause as OAuthError, uncertain)
    }
    return settleSuccess(context, record, response, dpop, requestedAt)
  })
}

/** Reads the stored session again and marks it as being refreshed, or hands on the newer one that is there. */
async function claim(
  context: SessionContext,
  stale: SessionRecord,
  urgency: RefreshUrgency,
): Promise<{ record: SessionRecord; uncertain: boolean }> {
  for (;;) {
    const now = context.now()
    let uncertain = false
    let waitMs = 0
    const { after } = await updateSession(context.storage, stale.did, context.allowHttp, now, (stored) => {
      // A database that was deleted under a live page is written anew; only a sign-out leaves a mark.
      const current = stored ?? stale
      if (
        current === 'signed_out' ||
        current.ended ||
        current.tokens.accessToken !== stale.tokens.accessToken
      )
        return
      const { refreshAttempt: attempt } = current
      if (attempt) {
        const age = Math.abs(now - attempt.at)
        uncertain = attempt.lost
        if (attempt.lost && !hasLocks()) waitMs = ATTEMPT_MS - age
        if (urgency !== 'asked') waitMs = Math.max(waitMs, attempt.retryAt - attempt.at - age)
        if (urgency === 'ahead' && attempt.lost) waitMs = ATTEMPT_MS
        if (waitMs > 0) return
      }
      const count = (attempt?.count ?? 0) + 1
      const retryAt = now + Math.min(MAX_BACKOFF_MS, 1000 * 2 ** (count - 1))
      return { ...current, refreshAttempt: { at: now, count, retryAt, lost: true } }
    })
    if (waitMs > 0) {
      if (urgency !== 'ahead' && (waitMs <= SHORT_WAIT_MS || !hasLocks())) {
        await new Promise((resolve) => setTimeout(resolve, Math.min(waitMs, POLL_MS)))
        continue
      }
      throw oauthError(
        'network_failed',
        `The last refresh of ${stale.did} failed; it is too early for the next`,
        {
          url: stale.server.tokenEndpoint,
        },
      )
    }
    return { record: requireUsable(after, stale), uncertain }
  }
}

async function settleSuccess(
  context: SessionContext,
  record: SessionRecord,
  response: BoundedResponse,
  dpop: DpopContext,
  requestedAt: number,
): Promise<SessionRecord> {
  const answer = parseTokenResponse(response)
  const { issuer } = record.server
  const revoke = () =>
    revokeTokens(
      context.fetch,
      { ...record, ...answer, refreshToken: answer.refreshToken ?? record.tokens.refreshToken },
      dpop,
    )
  const refused =
    answer.sub && answer.sub !== record.did
      ? 'sub'
      : !includesScope(answer.scope, 'atproto') && !answer.issues.length
        ? 'scope'
        : ''
  if (refused || answer.issues.includes('token_type')) {
    await revoke()
    throw await endSession(
      context,
      record,
      'revoked',
      refused === 'sub' ? 'subject_changed' : 'refresh_rejected',
    )
  }
  if (answer.issues.length) {
    throw oauthError(
      'token_response_invalid',
      `${issuer} answered a refresh without usable tokens: ${answer.issues}`,
      {
        issuer,
        issues: answer.issues,
      },
    )
  }

  const fresh = createTokenSet(answer, requestedAt)
  const tokens = { ...fresh, refreshToken: fresh.refreshToken ?? record.tokens.refreshToken }
  let after: StoredSession
  try {
    ;({ after } = await updateSession(
      context.storage,
      record.did,
      context.allowHttp,
      requestedAt,
      (stored) => {
        if (stored === 'signed_out' || (stored && stored.tokens.accessToken !== record.tokens.accessToken))
          return
        return { ...(stored ?? record), tokens, refreshAttempt: undefined }
      },
    ))
  } catch (cause) {
    await revoke()
    throw await endSession(context, record, 'revoked', 'not_stored', cause)
  }
  if (typeof after !== 'object' || after.tokens.accessToken !== tokens.accessToken) {
    // Signed out, or signed in anew, while the answer was on its way.
    await revoke()
    return requireUsable(after, record)
  }
  context.announce({ type: 'session', did: record.did })
  return after
}

async function settleFailure(
  context: SessionContext,
  record: SessionRecord,
  cause: OAuthError,
  uncertain: boolean,
): Promise<SessionRecord> {
  const rejected = cause.status === 400 && cause.oauthError === 'invalid_grant'
  const answered = isOAuthError(cause, 'token_request_failed') || isOAuthError(cause, 'dpop_rejected')
  let newer: SessionRecord | undefined
  try {
    await updateSession(context.storage, record.did, context.allowHttp, context.now(), (stored) => {
      if (typeof stored !== 'object') return
      if (stored.tokens.accessToken !== record.tokens.accessToken) newer = stored
      const { refreshAttempt: attempt } = stored
      if (newer || rejected || !answered || !attempt) return
      // The server answered and kept the token: nothing is uncertain, only to be tried later.
      const waitMs = isOAuthError(cause, 'token_request_failed') ? (cause.retryAfterMs ?? 0) : 0
      const retryAt = Math.max(attempt.retryAt, attempt.at + Math.min(MAX_BACKOFF_MS, waitMs))
      return { ...stored, refreshAttempt: { ...attempt, retryAt, lost: false } }
    })
  } catch {
    // What the server said matters more than a storage that cannot write it down.
  }
  if (newer) return requireUsable(newer, record)
  if (!rejected) throw cause
  const expired = context.now() - record.createdAt >= SESSION_LIFETIME_MS
  const status = expired ? 'expired' : uncertain ? 'rotation_lost' : 'revoked'
  const reason = expired ? 'expired' : uncertain ? 'rotation_lost' : 'refresh_rejected'
  throw await endSession(context, record, status, reason, cause)
}

/** Records that a session is over, tells the other tabs, and returns the error to throw. */
export async function endSession(
  context: SessionContext,
  record: SessionRecord,
  status: EndedStatus,
  reason: SessionEndReason,
  cause?: unknown,
): Promise<Error> {
  const { did } = record
  const tokens: TokenSet = { ...record.tokens, accessToken: '', refreshToken: undefined }
  try {
    await updateSession(context.storage, did, context.allowHttp, context.now(), (stored) =>
      typeof stored === 'object' && stored.tokens.accessToken === record.tokens.accessToken
        ? { ...stored, tokens, ended: status, refreshAttempt: undefined }
        : undefined,
    )
  } catch {
    // A storage that fails keeps a record whose token the server refuses; the next page finds that out.
  }
  context.announce({ type: 'session', did })
  return oauthError('session_ended', `The session of ${did} has ended: ${reason}`, { did, reason }, cause)
}

function requireUsable(stored: StoredSession, record: SessionRecord): SessionRecord {
  const { did } = record
  if (typeof stored === 'object' && !stored.ended) return stored
  const reason = stored === 'signed_out' || stored === undefined ? 'signed_out' : 'refresh_rejected'
  throw oauthError('session_ended', `The session of ${did} has ended: ${reason}`, { did, reason })
}
