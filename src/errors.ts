import type { Did } from './types.ts'

/** Why a session is over, or why a stored one cannot be used. */
export type SessionEndReason =
  | 'refresh_rejected'
  | 'rotation_lost'
  | 'not_stored'
  | 'signed_out'
  | 'expired'
  | 'subject_changed'

/** What an OAuth endpoint answered. Descriptions are cut to 512 characters and stripped of control characters. */
interface OAuthAnswer {
  issuer: string
  url: string
  status: number
  /** The wire's `error` code, e.g. `invalid_grant` (RFC 6749 §5.2). */
  oauthError?: string | undefined
  oauthErrorDescription?: string | undefined
  /** From `Retry-After`, milliseconds. */
  retryAfterMs?: number | undefined
}

/** What each code carries besides `message` and `cause`. Plain data, safe to log and to clone; never a secret. */
export interface OAuthErrorFacts {
  /** Not a handle, DID or server URL. `input` is shortened and free of invisible characters. */
  identifier_invalid: { input: string; reason: string }
  /** A DID whose method is neither `plc` nor `web`. */
  did_unsupported: { input: string; method: string }
  /** No resolver of the app's list knows the handle. */
  handle_not_found: { handle: string }
  /** The handle's DNS records name more than one DID. */
  handle_ambiguous: { handle: string }
  /** The DID document does not claim the handle that led to it. */
  handle_mismatch: { handle: string; did: Did }
  /** The directory or host has no document for the DID. */
  did_not_found: { did: Did }
  /** Malformed, for another DID, or without exactly one usable PDS. */
  did_document_invalid: { did: Did; status: number; issues: string[] }
  /** The PDS's metadata (RFC 9728) is missing or wrong. */
  resource_metadata_invalid: { pds: string; status: number; issues: string[] }
  /** The authorization server's metadata (RFC 8414) is missing or wrong. */
  issuer_metadata_invalid: { issuer: string; status: number; issues: string[] }
  /** Valid metadata that lacks what the atproto profile requires. */
  issuer_unsupported: { issuer: string; missing: string[] }
  /** The client metadata document served at the `client_id` URL cannot be used. */
  client_metadata_invalid: { url: string; issues: string[] }
  /** No answer: offline, refused, blocked by CORS. */
  network_failed: { url: string }
  /** No complete answer in time. */
  timed_out: { url: string; timeoutMs: number }
  /** Redirect, wrong content type, too large, or not the agreed JSON. */
  response_invalid: { url: string; status: number; issues: string[] }
  /**
   * The authorization server answered the authorization request with an error. `access_denied` is mostly the person's
   * choice; the description tells a deactivated account or an expired request. `unknown` stands for what is no error code.
   */
  authorization_refused: { issuer: string; oauthError: string; oauthErrorDescription?: string | undefined }
  /** Callback parameters are missing, doubled or contradict each other. */
  callback_invalid: { issues: string[] }
  /** Nothing is pending for this `state`: replayed, finished, or begun in another browser. */
  authorization_unknown: Record<never, never>
  /** The sign-in was begun too long ago. */
  authorization_expired: Record<never, never>
  /** The answer, or the subject's authority, names another issuer than the one asked (RFC 9207 §2.4). */
  issuer_mismatch: { expected: string; received?: string | undefined; did?: Did | undefined }
  /** Signed in as another account than the one asked for. */
  subject_mismatch: { expected: string; received: string }
  /** `atproto` was not granted. */
  scope_missing: { requested: string; granted: string }
  popup_blocked: Record<never, never>
  popup_closed: Record<never, never>
  /** A PAR, token or revocation request was answered with an OAuth error. */
  token_request_failed: OAuthAnswer
  /** A token answer breaks the profile; what it issued to a sign-in was revoked. */
  token_response_invalid: { issuer: string; issues: string[] }
  /** The proof was refused again after a fresh nonce and a corrected clock. */
  dpop_rejected: OAuthAnswer
  /** Nothing is stored for this account. */
  session_not_found: { did: string }
  /** Over for good; signing in again mends it. */
  session_ended: { did: Did; reason: SessionEndReason }
  /** The account now lives on another server; signing in again mends it. */
  account_moved: { did: Did; expected: string; received: string }
  /** `session.fetch()` to anything but `/xrpc/` on the session's own PDS. */
  url_forbidden: { url: string; pds: string }
  /** A header only the library may set. */
  header_forbidden: { header: string }
  /** An insecure context or a missing browser feature. */
  environment_unsupported: { missing: string[] }
  /**
   * The half of this package that signs people in could not be loaded: offline, or the page has outlived its deployment.
   * Only Chromium tries again; Firefox when the page is reloaded, WebKit in a new tab.
   */
  module_failed: Record<never, never>
  /** Storage refused: unavailable, full, blocked, or it does not keep keys. */
  storage_failed: { operation: string }
}

/** Stable; branch on it, never on `message`. Adding a code is a minor change, removing one a major. */
export type OAuthErrorCode = keyof OAuthErrorFacts

/** An {@link OAuthError} of one code, with that code's facts. */
export type OAuthErrorOf<Code extends OAuthErrorCode> = OAuthError & { readonly code: Code } & Readonly<
    OAuthErrorFacts[Code]
  >

/** The union over all codes: `switch (error.code)` narrows it to the facts of that code. */
export type AnyOAuthError = { [Code in OAuthErrorCode]: OAuthErrorOf<Code> }[OAuthErrorCode]

const START_AGAIN = 'This sign-in is no longer valid. Please start again.'
const SIGN_IN_AGAIN = 'The session has ended. Please sign in again.'
const SERVER_FAULT = 'The server is not set up correctly for signing in.'
const STOPPED = 'The answer was not from the account or server that was asked, so the sign-in was stopped.'

/** One or two sentences per code, for a person; together with the facts, for a developer. */
const SENTENCES: Record<OAuthErrorCode, string> = {
  identifier_invalid: 'That is not a handle. A handle looks like alice.bsky.social.',
  did_unsupported: 'That kind of account is not supported.',
  handle_not_found: 'No account has that handle. Check the spelling.',
  handle_ambiguous: 'That handle points to more than one account.',
  handle_mismatch: 'That handle and its account do not confirm each other.',
  did_not_found: 'That account could not be found.',
  did_document_invalid: 'That account is not set up correctly.',
  resource_metadata_invalid: SERVER_FAULT,
  issuer_metadata_invalid: SERVER_FAULT,
  issuer_unsupported: SERVER_FAULT,
  client_metadata_invalid: 'This app is not set up correctly for signing in.',
  network_failed: 'The server could not be reached. Check the connection and try again.',
  timed_out: 'The server took too long to answer. Please try again.',
  response_invalid: 'The server gave an answer that makes no sense.',
  authorization_refused: 'The server did not complete the sign-in.',
  callback_invalid: START_AGAIN,
  authorization_unknown: START_AGAIN,
  authorization_expired: START_AGAIN,
  issuer_mismatch: STOPPED,
  subject_mismatch: STOPPED,
  scope_missing: 'The permission that this app needs was not given.',
  popup_blocked: 'The sign-in window was blocked. Allow pop-ups here and try again.',
  popup_closed: 'The sign-in window was closed.',
  token_request_failed: 'The server refused the request.',
  token_response_invalid: SERVER_FAULT,
  dpop_rejected: 'The server did not accept this device. Check its date and time.',
  session_not_found: 'That account is not signed in here. Please sign in.',
  session_ended: SIGN_IN_AGAIN,
  account_moved: 'The account has moved to another server. Please sign in again.',
  url_forbidden: "This app tried to reach something other than /xrpc/ on the account's server.",
  header_forbidden: 'This app tried to set a header that is not its to set.',
  environment_unsupported: 'This browser or page cannot sign in securely.',
  module_failed: 'A part of this app could not be loaded. Check the connection and reload the page.',
  storage_failed: 'This browser cannot keep a sign-in. It may be full or in a private mode.',
}

interface Answered {
  status?: number | undefined
  oauthError?: string | undefined
}

/** Whether a server said that it is busy or out of order, which says nothing of what was asked. */
function isPassing({ status = 0 }: Answered): boolean {
  return status >= 500 || status === 429
}

function describe(code: OAuthErrorCode, answered: Answered): string {
  const { oauthError } = answered
  if (oauthError === 'access_denied')
    return 'Access was not given, so nothing has changed. To sign in, please start again.'
  if (isPassing(answered)) return 'The server cannot answer at the moment. Please try again later.'
  if (oauthError === 'invalid_grant') return START_AGAIN
  return SENTENCES[/client/.test(`${oauthError}`) ? 'client_metadata_invalid' : code]
}

const RETRYABLE: readonly OAuthErrorCode[] = ['network_failed', 'timed_out', 'storage_failed']

/**
 * Every failure that can happen to correct code. Mistakes in calling the library are `TypeError`; an aborted call
 * rejects with its signal's reason. Holds no token, code, verifier, proof or key.
 */
export class OAuthError extends Error {
  override readonly name = 'OAuthError'
  readonly code: OAuthErrorCode
  readonly did?: string | undefined
  readonly issuer?: string | undefined
  readonly url?: string | undefined
  readonly status?: number | undefined
  readonly oauthError?: string | undefined
  readonly oauthErrorDescription?: string | undefined
  /** What the app gave to `signIn()`, once a pending sign-in was found. */
  appState?: unknown

  /** @internal */
  constructor(code: OAuthErrorCode, facts: object, options?: ErrorOptions) {
    // JSON escapes control characters, but not those that turn a line around.
    const shown = JSON.stringify({ __proto__: null, ...facts, name: undefined, code: undefined }).replace(
      /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
      '',
    )
    super(`${code} ${shown}: ${describe(code, facts)}`, options)
    this.code = code
    Object.assign(this, facts)
  }

  /** Whether the same call may succeed later without anybody changing anything. */
  get retryable(): boolean {
    return RETRYABLE.includes(this.code) || isPassing(this)
  }

  /** One or two sentences fit to show to a person, in English. */
  get userMessage(): string {
    return describe(this.code, this)
  }

  /** Plain data for logs and for other tabs: structured clone would drop an error's own fields. Without `appState`. */
  toJSON(): Record<string, unknown> {
    const { userMessage, retryable, message } = this
    return { ...(this as Record<string, unknown>), appState: undefined, message, userMessage, retryable }
  }
}

/** @internal The only way the library makes one: the compiler asks for exactly the facts of the code. */
export function oauthError<Code extends OAuthErrorCode>(
  code: Code,
  facts: OAuthErrorFacts[Code],
  cause?: unknown,
): OAuthErrorOf<Code> {
  return new OAuthError(code, facts, cause === undefined ? undefined : { cause }) as OAuthErrorOf<Code>
}

/** Tells an {@link OAuthError}, also one of another copy of this package, and narrows it to a code when one is given. */
export function isOAuthError(error: unknown): error is AnyOAuthError
export function isOAuthError<Code extends OAuthErrorCode>(
  error: unknown,
  code: Code,
): error is OAuthErrorOf<Code>
export function isOAuthError(error: unknown, code?: string): boolean {
  return (
    error instanceof Error &&
    error.name === 'OAuthError' &&
    'code' in error &&
    (code === undefined || error.code === code)
  )
}
