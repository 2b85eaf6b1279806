import { sha256Base64url } from '../dpop/encoding.ts'
import { createDpopContext, type DpopContext, sendWithProof } from '../dpop/fetch.ts'
import { isOAuthError, type OAuthError, oauthError } from '../errors.ts'
import { networkFailed, requireNoRedirect, SAFE_INIT } from '../http.ts'
import type { StoredSession } from '../storage/sessions.ts'
import { abortable } from '../time.ts'
import { revokeTokens } from '../token/revoke.ts'
import type { Did, DpopNonce, SessionRecord } from '../types.ts'
import type { SessionContext } from './context.ts'
import { refreshByGuard } from './guard.ts'
import { isSameSignIn, type RefreshUrgency, refreshSession, SESSION_LIFETIME_MS } from './refresh.ts'
import { createResourceRequest, type ResourceRequest, readResourceError } from './request.ts'

/** Refresh this long before expiry, or a fifth of the lifetime if that is shorter. */
const REFRESH_MARGIN_MS = 60_000
/** Spreads the tabs of one person, so that one has refreshed before the others want to. */
const JITTER_MS = 15_000
/** A server that calls every token invalid is not asked for new ones more often. */
const MIN_REFRESH_INTERVAL_MS = 30_000
const NONCE_SAVE_INTERVAL_MS = 5_000

/**
 * How a session stands, and the one call that mends it:
 * `active`, `refreshing` – nothing to do ·
 * `offline` – the server could not be reached when the token had to be replaced: `session.refresh()` ·
 * `expired` – its time is up, `revoked` – the server ended it, or it was signed out, `rotation_lost` – the answer to a
 * refresh never arrived, `moved` – the account has another server: `signIn(did)` for each of these.
 */
export type SessionStatus =
  | 'active'
  | 'refreshing'
  | 'offline'
  | 'expired'
  | 'revoked'
  | 'moved'
  | 'rotation_lost'

/** What an app shows of an account it knows. */
export interface Account {
  readonly did: Did
  /** Verified in both directions; `undefined` when it is not, or not yet. */
  readonly handle: string | undefined
  /** Origin of the account's server. */
  readonly pds: string
  readonly issuer: string
  /** Scope as granted. */
  readonly scope: string
  readonly status: SessionStatus
  /** Whether this tab uses it. */
  readonly current: boolean
  /** Of the access token, milliseconds since the epoch; `undefined` when the server did not say. */
  readonly expiresAt: number | undefined
  /** When a public client's session ends, however often it is refreshed, milliseconds since the epoch. */
  readonly endsAt: number
  /** When the account was last signed in or switched to, milliseconds since the epoch. */
  readonly lastUsedAt: number
  /** The new server, when `status` is `moved`. */
  readonly movedTo: string | undefined
}

/**
 * A signed-in account: authorised requests to its own server, and nothing that could give its tokens away.
 *
 * Goes as it is into `new Agent(session)` (`@atproto/api`), `new Client(session)` (`@atproto/lex`) and
 * `new Client({ handler: session })` (`@atcute/client`). The same object for as long as the account is signed in, so that
 * what changes in it tells no framework to render anew: show `Account`, which is replaced.
 */
export interface Session {
  readonly did: Did
  /** What `signIn()` was given as `appState`, on the session that its callback brought. */
  appState: unknown
  /** Origin of the account's server (PDS), the only one that {@link fetch} talks to. */
  readonly pds: string
  readonly issuer: string
  /** Scope as granted, which may be less than what was asked for. */
  readonly scope: string
  /** When the access token expires, milliseconds since the epoch. It is replaced before that by itself. */
  readonly expiresAt: number | undefined
  readonly status: SessionStatus
  readonly account: Account

  /**
   * Makes an authorised request, as `fetch` would: an answer of any status is returned, not thrown.
   *
   * Adds the access token and a DPoP proof, replaces the token ahead of its expiry, and repeats the request where the
   * server asks for another nonce or has replaced the token. Sends to `/xrpc/` on {@link pds} and nowhere else; follows
   * no redirect. Bodies that are streams are read into memory first.
   *
   * @param input - A path such as `/xrpc/com.atproto.server.getSession`, or an absolute URL of the same origin.
   * @throws {OAuthError} `url_forbidden`, `header_forbidden`, `session_ended`, `account_moved`, `network_failed`,
   *   `response_invalid` (a redirect); the signal's reason when aborted.
   * @throws {TypeError} For what `fetch` itself would not send.
   */
  readonly fetch: (input: string | URL | Request, init?: RequestInit) => Promise<Response>
  /** {@link fetch}, by the name that `@atproto/api` and `@atproto/lex` look for. */
  readonly fetchHandler: (path: string, init?: RequestInit) => Promise<Response>
  /** {@link fetch}, by the name that `@atcute/client` looks for. */
  readonly handle: (path: string, init?: RequestInit) => Promise<Response>

  /**
   * Replaces the access token now. Not needed in the ordinary course; mends `offline`.
   *
   * @throws {OAuthError} `session_ended`, `token_request_failed`, or a transport code.
   */
  refresh(): Promise<void>
  /** Signs this account out: forgets it here and in all tabs, and asks its server to forget it too. */
  signOut(): Promise<void>
}

/** @internal */
export interface SessionHooks {
  isCurrent(session: Session): boolean
  /** Something that {@link Account} shows has changed. */
  onChange(error?: OAuthError): void
  /** A request was made, or failed to reach the server. */
  onUse(session: Session, failed: boolean): void
  signOut(did: Did): Promise<void>
  /** It turned out that the account was signed out elsewhere. */
  onSignedOut(session: Session): void
}

/** @internal What the client does with a session and an app, or a script on its page, must not. */
export interface SessionInternals {
  record(): SessionRecord
  dpop(): DpopContext
  /** Takes over what another tab, or a new sign-in, has stored. */
  adopt(stored: StoredSession, dpop?: DpopContext): void
  /** Tries again now: the network is back. */
  resume(): void
}

const internals = new WeakMap<Session, SessionInternals>()

/** @internal */
export function internalsOf(session: Session): SessionInternals {
  return internals.get(session) as SessionInternals
}

/** @internal */
export class LiveSession implements Session {
  readonly did: Did
  appState: unknown = undefined

  readonly #context: SessionContext
  readonly #hooks: SessionHooks
  #dpop: DpopContext
  #record: SessionRecord
  #signedOut = false
  /** Requests that wait for another token, however it comes. */
  readonly #waiting = new Set<() => void>()
  /** The token that was tried to be replaced ahead of its expiry; after that it is left alone until it is due. */
  #triedAhead = ''
  #refreshing: { urgency: RefreshUrgency; done: Promise<void> } | undefined
  /** Why the last refresh failed, until one succeeds. */
  #failure: OAuthError | undefined
  #ath: { token: string; value: string } | undefined
  #nonceSavedAt = 0
  readonly #jitterMs = Math.floor(((crypto.getRandomValues(new Uint8Array(1))[0] ?? 0) / 256) * JITTER_MS)

  /** @internal */
  constructor(context: SessionContext, hooks: SessionHooks, record: SessionRecord, dpop?: DpopContext) {
    this.did = record.did
    this.#context = context
    this.#hooks = hooks
    this.#record = record
    this.#dpop = dpop ?? createDpopContext(record.dpopKey, context)
    internals.set(this, {
      record: () => this.#record,
      dpop: () => this.#dpop,
      adopt: (stored, dpop) => this.#adopt(stored, dpop),
      resume: () => {
        if (this.#failure) this.#refresh('asked').catch(() => {})
      },
    })
  }

  /** Named as what it is: Vue wraps whatever looks like a plain object, and a wrapped one has no private members. */
  get [Symbol.toStringTag](): string {
    return 'Session'
  }

  get pds(): string {
    return this.#record.pds
  }

  get issuer(): string {
    return this.#record.server.issuer
  }

  get scope(): string {
    return this.#record.tokens.scope
  }

  get expiresAt(): number | undefined {
    return this.#record.tokens.expiresAt
  }

  get status(): SessionStatus {
    const { ended, tokens } = this.#record
    if (this.#signedOut) return 'revoked'
    if (ended) return ended
    if (this.#refreshing) return 'refreshing'
    if (this.#failure) return 'offline'
    return tokens.refreshToken === undefined && this.#expiresInMs() <= 0 ? 'expired' : 'active'
  }

  get account(): Account {
    const { did, handle, pds, server, tokens, createdAt, lastUsedAt, movedTo } = this.#record
    return {
      did,
      handle,
      pds,
      issuer: server.issuer,
      scope: tokens.scope,
      status: this.status,
      current: this.#hooks.isCurrent(this),
      expiresAt: tokens.expiresAt,
      // Without a refresh token it ends with its first access token.
      endsAt: (tokens.refreshToken ? undefined : tokens.expiresAt) ?? createdAt + SESSION_LIFETIME_MS,
      lastUsedAt,
      movedTo,
    }
  }

  readonly fetch: Session['fetch'] = async (input, init) => {
    const signal = init?.signal ?? (input instanceof Request ? input.signal : undefined)
    signal?.throwIfAborted()
    return abortable(this.#fetch(input, init), signal)
  }

  readonly fetchHandler: Session['fetchHandler'] = this.fetch

  readonly handle: Session['handle'] = this.fetch

  refresh(): Promise<void> {
    return this.#refresh('asked')
  }

  signOut(): Promise<void> {
    return this.#hooks.signOut(this.did)
  }

  async #fetch(input: string | URL | Request, init: RequestInit | undefined): Promise<Response> {
    const request = await createResourceRequest(this.#record.pds, input, init)
    request.init.signal?.throwIfAborted()
    this.#assertUsable()
    if (this.#expiresInMs() <= 0) await this.#awaitToken()
    else if (this.#mayRefreshAhead()) {
      this.#triedAhead = this.#record.tokens.accessToken
      this.#refresh('ahead').catch(() => {})
    }

    const { accessToken } = this.#record.tokens
    const response = await this.#send(request)
    if (response.status !== 401 || (await readResourceError(response)) !== 'invalid_token') return response

    // Another tab, or a refresh of this one, may have replaced the token while the request was on its way.
    const isRefused = () => accessToken === this.#record.tokens.accessToken
    if (isRefused() && !this.#mayRefresh()) await this.#reread()
    if (isRefused() && (this.#mayRefresh() || this.#record.refreshAttempt?.outcome === 'pending')) {
      await this.#refresh('due').catch((error: unknown) => {
        if (isOAuthError(error, 'session_ended') || !isOAuthError(error)) throw error
      })
      if (isRefused()) return response
    }
    return this.#reportRefusal(isRefused() ? response : await this.#send(request))
  }

  /** Waits for a token that has not expired: this session's own refresh brings one, or another tab's. */
  async #awaitToken(): Promise<void> {
    let goOn = () => {}
    const renewed = new Promise<void>((resolve) => {
      goOn = resolve
    })
    this.#waiting.add(goOn)
    try {
      await Promise.race([renewed, this.#refresh('due')])
    } catch (error) {
      if (this.#expiresInMs() <= 0) throw error
    } finally {
      this.#waiting.delete(goOn)
    }
  }

  #adopt(stored: StoredSession, dpop?: DpopContext): void {
    if (stored === 'signed_out') this.#signedOut = true
    if (typeof stored !== 'object') return
    const before = this.#record
    const same = isSameSignIn(stored, before)
    if (same && stored.generation < before.generation) return
    if (!same) this.#dpop = dpop ?? createDpopContext(stored.dpopKey, this.#context)
    this.#signedOut = false
    this.#record = stored
    if (stored.tokens.accessToken === before.tokens.accessToken || stored.ended) return
    this.#failure = undefined
    for (const goOn of this.#waiting) goOn()
    const [scopeBefore, scope] = [before.tokens.scope, stored.tokens.scope]
    if (same && scope !== scopeBefore)
      this.#context.diagnose({ code: 'scope_changed', did: this.did, before: scopeBefore, after: scope })
  }

  #expiresInMs(): number {
    return (this.#record.tokens.expiresAt ?? Number.POSITIVE_INFINITY) - this.#context.now()
  }

  #marginMs(): number {
    const { expiresAt = 0, issuedAt } = this.#record.tokens
    const marginMs = Math.min(REFRESH_MARGIN_MS, (expiresAt - issuedAt) / 5)
    return marginMs - Math.min(this.#jitterMs, marginMs / 4)
  }

  #mayRefresh(): boolean {
    const { refreshToken, expiresAt, issuedAt } = this.#record.tokens
    // What cannot be refreshed is not given up for one refusal while it has time left.
    if (refreshToken === undefined && expiresAt !== undefined) return false
    return Math.abs(this.#context.now() - issuedAt) >= MIN_REFRESH_INTERVAL_MS
  }

  #mayRefreshAhead(): boolean {
    return (
      this.#expiresInMs() <= this.#marginMs() &&
      this.#mayRefresh() &&
      this.#triedAhead !== this.#record.tokens.accessToken &&
      !this.#context.storage.suspended
    )
  }

  #assertUsable(): void {
    const { did, status } = this
    // Time alone has brought it about: nobody has been told.
    if (status === 'expired') this.#hooks.onChange()
    const { movedTo, pds } = this.#record
    if (this.#signedOut) throw oauthError('session_ended', { did, reason: 'signed_out' })
    if (status === 'moved') throw oauthError('account_moved', { did, expected: pds, received: movedTo ?? '' })
    if (status === 'revoked') throw oauthError('session_ended', { did, reason: 'refresh_rejected' })
    if (status === 'expired' || status === 'rotation_lost')
      throw oauthError('session_ended', { did, reason: status })
  }

  async #send(request: ResourceRequest): Promise<Response> {
    this.#assertUsable()
    const { method, headers, init } = request
    const { pds } = this.#record
    // A new sign-in may have brought another server meanwhile, and its tokens are for no other.
    const url =
      request.url.origin === pds ? request.url : new URL(request.url.pathname + request.url.search, pds)
    const { accessToken } = this.#record.tokens
    if (this.#ath?.token !== accessToken)
      this.#ath = { token: accessToken, value: await sha256Base64url(accessToken) }
    const authorization = `DPoP ${accessToken}`
    const { fetch } = this.#context
    let response: Response | undefined
    try {
      response = await sendWithProof(this.#dpop, {
        method,
        url,
        ath: this.#ath.value,
        readError: readResourceError,
        send: (dpop) => {
          init.signal?.throwIfAborted()
          this.#assertUsable()
          // Without a prototype, nothing that a script put on Object.prototype reaches fetch.
          const bound = {
            __proto__: null,
            ...init,
            ...SAFE_INIT,
            headers: { __proto__: null, ...headers, authorization, dpop },
          }
          return fetch(url.href, bound as unknown as RequestInit)
        },
      })
    } catch (cause) {
      init.signal?.throwIfAborted()
      throw isOAuthError(cause) ? cause : networkFailed(url.href, cause)
    } finally {
      if (response || !init.signal?.aborted) this.#hooks.onUse(this, !response)
    }
    this.#saveNonce()
    requireNoRedirect(url.href, response)
    return response
  }

  /** A token that is refused right after it was issued says nothing about the session: the app is told, not signed out. */
  async #reportRefusal(response: Response): Promise<Response> {
    if (response.status === 401 && (await readResourceError(response)) === 'invalid_token') {
      this.#context.diagnose({ code: 'token_refused', did: this.did })
    }
    return response
  }

  /** Written behind, and seldom: it saves one round after a reload, nothing depends on it. */
  #saveNonce(): void {
    const nonce = this.#dpop.nonces.entry(this.#record.pds)
    if (this.#signedOut || !nonce || nonce.at - this.#nonceSavedAt < NONCE_SAVE_INTERVAL_MS) return
    this.#nonceSavedAt = nonce.at
    saveNonce(this.#context, this.did, nonce).catch(() => {})
  }

  /** One refresh at a time; whoever asks meanwhile waits for it, and goes on alone if it was not meant as seriously. */
  #refresh(urgency: RefreshUrgency): Promise<void> {
    const running = this.#refreshing
    if (running?.urgency === 'ahead' && urgency !== 'ahead')
      return running.done.catch(() => this.#refresh(urgency))
    if (running) return running.done
    const settle = (error?: OAuthError) => {
      this.#refreshing = undefined
      if (this.#signedOut) this.#hooks.onSignedOut(this)
      this.#hooks.onChange(error)
    }
    const done = this.#runRefresh(urgency).then(
      () => settle(),
      (error) => {
        settle(error)
        throw error
      },
    )
    this.#refreshing = { urgency, done }
    return done
  }

  async #runRefresh(urgency: RefreshUrgency): Promise<void> {
    // Not before the caller has stored the promise: `status` and the listeners look at it.
    await undefined
    this.#assertUsable()
    const record = this.#record
    const { tokens, server } = record
    if (!tokens.refreshToken) {
      if (urgency === 'due') this.#adopt({ ...record, ended: 'expired' })
      throw oauthError('session_ended', { did: this.did, reason: 'expired' })
    }
    try {
      if (globalThis.navigator?.onLine === false) throw networkFailed(server.tokenEndpoint)
      this.#hooks.onChange()
      const guarded = await refreshByGuard(this.#context, record, urgency)
      const renewed = guarded || (await refreshSession(this.#context, record, this.#dpop, urgency))
      // Signed out, or signed in anew, meanwhile: that stands.
      if (!this.#signedOut && isSameSignIn(this.#record, record)) this.#adopt(renewed)
      this.#assertUsable()
      this.#failure = undefined
      this.#saveNonce()
    } catch (error) {
      if (isOAuthError(error, 'session_ended')) {
        await this.#reread({ ...record, ended: this.#record.ended ?? 'revoked' })
        if (this.status === 'moved') this.#assertUsable()
      }
      // A token that is still good, or new, leaves the session as it stands.
      else if (isOAuthError(error) && this.#record.tokens.accessToken === tokens.accessToken) {
        if (urgency !== 'ahead' || this.#expiresInMs() <= 0) this.#failure = error
      }
      throw error
    } finally {
      if (this.#signedOut) await this.#staySignedOut(record).catch(() => {})
    }
  }

  /** What a refresh has written after a sign-out that found no room for its mark is forgotten, too. */
  async #staySignedOut(record: SessionRecord): Promise<void> {
    const { sessions, announce, fetch } = this.#context
    const { before, after } = await sessions.update(this.did, (stored) =>
      typeof stored === 'object' && isSameSignIn(stored, record) ? 'signed_out' : undefined,
    )
    if (typeof before !== 'object' || after !== 'signed_out') return
    announce({ type: 'session', did: this.did })
    void revokeTokens(fetch, before, before.tokens, this.#dpop)
  }

  /** Adopts what is stored. @param over - Stands for it where storage has nothing newer: it may not have been written. */
  async #reread(over?: SessionRecord): Promise<void> {
    const stored = await this.#context.sessions.load(this.did).catch(() => undefined)
    // What was stored since is for the object that has taken this one's place.
    if (this.#signedOut) return
    // Signed in anew meanwhile: that stands.
    if (over && !isSameSignIn(over, this.#record)) over = undefined
    const older =
      typeof stored === 'object' && !stored.ended && stored.tokens.accessToken === over?.tokens.accessToken
    this.#adopt(!stored || older ? over : stored)
  }
}

/** Another tab may have signed the account out, and forgotten its nonce, before this one was written. */
async function saveNonce({ storage, sessions }: SessionContext, did: Did, nonce: DpopNonce): Promise<void> {
  await storage.update('nonces', did, () => nonce)
  if (typeof (await sessions.load(did)) !== 'object') await storage.update('nonces', did, () => undefined)
}
