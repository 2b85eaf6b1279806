import type { DpopContext } from '../dpop/fetch.ts'
import { type OAuthError, oauthError, type SessionEndReason } from '../errors.ts'
import { type BoundedResponse, networkFailed } from '../http.ts'
import { ANSWER_TIMEOUT_MS } from '../storage/database.ts'
import type { StoredSession } from '../storage/sessions.ts'
import { sleep, within } from '../time.ts'
import { refuse } from '../token/endpoint.ts'
import { fetchRefreshedTokens } from '../token/refresh.ts'
import { createTokenSet, includesScope, parseTokenResponse } from '../token/response.ts'
import { revokeTokens } from '../token/revoke.ts'
import type { SessionRecord } from '../types.ts'
import type { SessionContext } from './context.ts'
import { hasLocks, withLock } from './locks.ts'

/** Longest time from a marker to its answer; an older marker belongs to a page that is gone. */
const ATTEMPT_MS = 45_000
/** The same where the lock shows that page to be gone, unless somebody took the lock from it. */
const GONE_MS = 10_000
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
 * are only ever written over the tokens they belong to. A tab that waited adopts the other tab's tokens. The session
 * ends when the server refuses the refresh token and nobody holds a newer one; after any other failure the stored
 * session stays and the call may be repeated.
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
  const askedAt = context.now()
  return withLock(`${context.name}:${stale.did}`, async () => {
    const { record, uncertain } = await claim(context, stale, urgency, askedAt)
    if (!isSame(record, stale)) return record
    const requestedAt = context.now()
    let response: BoundedResponse
    try {
      response = await fetchRefreshedTokens(context.fetch, record, dpop)
      if (response.status >= 400) throw refuse(response, record.server.issuer, requestedAt)
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
  askedAt: number,
): Promise<{ record: SessionRecord; uncertain: boolean }> {
  let waitedMs = 0
  const id = crypto.randomUUID()
  for (;;) {
    const now = context.now()
    let uncertain = false
    let waitMs = 0
    let pending = false
    const claimed = context.sessions.update(stale.did, (stored) => {
      // A database that was deleted under a live page is written anew; only a sign-out leaves a mark.
      const current = stored ?? stale
      if (current === 'signed_out' || current.ended || !isSame(current, stale)) return
      const { at = now, count = 0, retryAt = now, outcome = 'kept' } = current.refreshAttempt ?? {}
      // Written by this very call, which storage has repeated.
      if (current.refreshAttempt?.id === id) return
      // What was waited out counts, also on a clock that is set back meanwhile.
      const age = Math.max(Math.abs(now - at), waitedMs)
      uncertain = outcome !== 'kept'
      if (outcome === 'pending') waitMs = (hasLocks() ? GONE_MS : ATTEMPT_MS) - age
      // Of many tabs that are told to try again at the same moment, one does.
      if (urgency !== 'asked' || at > askedAt)
        waitMs = Math.max(waitMs, Math.min(MAX_BACKOFF_MS, retryAt - at) - age)
      if (waitMs <= 0 && urgency === 'ahead' && uncertain) waitMs = ATTEMPT_MS
      pending = outcome === 'pending'
      if (waitMs > 0) return
      const backoffMs = Math.min(MAX_BACKOFF_MS, 1000 * 2 ** count)
      return {
        ...current,
        refreshAttempt: { id, at: now, count: count + 1, retryAt: now + backoffMs, outcome: 'pending' },
      }
    })
    const written = await within(claimed, ANSWER_TIMEOUT_MS)
    if (!written) throw oauthError('storage_failed', { operation: 'write' })
    if (waitMs <= 0) return { record: requireUsable(written.after, stale), uncertain }
    if (urgency === 'ahead' || waitMs > (pending ? ATTEMPT_MS : SHORT_WAIT_MS))
      throw networkFailed(stale.server.tokenEndpoint)
    const pauseMs = Math.min(waitMs, POLL_MS)
    await sleep(pauseMs)
    waitedMs += pauseMs
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
  const { issues, sub, scope, refreshToken = record.tokens.refreshToken } = answer
  const tokens = { ...createTokenSet(answer, requestedAt), refreshToken }
  const revoke = () => revokeTokens(context.fetch, record, tokens, dpop)
  const foreign = sub !== record.did
  if (issues[0] === 'token_type' || (!issues.length && (foreign || !includesScope(scope, 'atproto')))) {
    await revoke()
    throw await endSession(context, record, foreign ? 'subject_changed' : 'refresh_rejected')
  }
  if (issues.length) {
    const problem = oauthError('token_response_invalid', { issuer: record.server.issuer, issues })
    return settleFailure(context, record, problem, false)
  }

  let after: StoredSession
  try {
    ;({ after } = await context.sessions.update(record.did, (stored = record) =>
      typeof stored === 'object' && isSame(stored, record)
        ? { ...stored, tokens, refreshAttempt: undefined }
        : undefined,
    ))
  } catch (cause) {
    await revoke()
    throw await endSession(context, record, 'not_stored', cause)
  }
  // Signed out, or signed in anew, while the answer was on its way. Newer tokens of the same session end with these.
  const isSuperseded = typeof after === 'object' && !after.ended && isSameSignIn(after, record)
  if (!isSuperseded) await revoke()
  context.announce({ type: 'session', did: record.did })
  return requireUsable(after, record)
}

async function settleFailure(
  context: SessionContext,
  record: SessionRecord,
  cause: OAuthError,
  uncertain: boolean,
): Promise<SessionRecord> {
  const rejected = cause.status === 400 && cause.oauthError === 'invalid_grant'
  let newer: StoredSession
  await context.sessions
    .update(record.did, (stored) => {
      if (typeof stored !== 'object') return
      if (!isSame(stored, record)) newer = stored
      const { refreshAttempt } = stored
      if (newer || rejected || !refreshAttempt) return
      // A gateway may say 502 for a server that has done its part.
      const kept = cause.issuer !== undefined && Number(cause.status) < 500
      const outcome = kept ? 'kept' : 'lost'
      const { retryAfterMs = 0 } = cause as { retryAfterMs?: number }
      const retryAt = Math.max(
        refreshAttempt.retryAt,
        refreshAttempt.at + Math.min(MAX_BACKOFF_MS, retryAfterMs),
      )
      return { ...stored, refreshAttempt: { ...refreshAttempt, retryAt, outcome } }
    })
    // What the server said matters more than a storage that cannot write it down.
    .catch(() => {})
  if (newer) return requireUsable(newer, record)
  if (!rejected) throw cause
  const expired = context.now() - record.createdAt >= SESSION_LIFETIME_MS
  const reason = expired ? 'expired' : uncertain ? 'rotation_lost' : 'refresh_rejected'
  throw await endSession(context, record, reason, cause)
}

/** Records that a session is over, tells the other tabs, and returns the error to throw. */
async function endSession(
  { sessions, announce }: SessionContext,
  record: SessionRecord,
  reason: SessionEndReason,
  cause?: unknown,
): Promise<Error> {
  const { did } = record
  const ended = reason === 'expired' || reason === 'rotation_lost' ? reason : 'revoked'
  const tokens = { ...record.tokens, accessToken: '', refreshToken: undefined }
  await sessions
    .update(did, (stored) =>
      // An account that has moved, too, is refused by its old server.
      typeof stored === 'object' && isSame(stored, record) && !stored.ended
        ? { ...stored, tokens, ended, refreshAttempt: undefined }
        : undefined,
    )
    // A storage that fails keeps a record whose token the server refuses; the next page finds that out.
    .catch(() => {})
  announce({ type: 'session', did })
  return oauthError('session_ended', { did, reason }, cause)
}

/** Whether two records are of one sign-in: each has a key of its own. */
export function isSameSignIn(a: SessionRecord, b: SessionRecord): boolean {
  return a.dpopKey.publicJwk.x === b.dpopKey.publicJwk.x
}

function isSame(a: SessionRecord, b: SessionRecord): boolean {
  return a.tokens.accessToken === b.tokens.accessToken
}

function requireUsable(stored: StoredSession, { did }: SessionRecord): SessionRecord {
  if (typeof stored === 'object' && !stored.ended) return stored
  const ended = typeof stored === 'object' ? stored.ended : undefined
  const named = ended === 'expired' || ended === 'rotation_lost' ? ended : 'refresh_rejected'
  throw oauthError('session_ended', { did, reason: ended ? named : 'signed_out' })
}
