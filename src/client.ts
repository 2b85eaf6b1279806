import type { PushedAuthorization } from './authorization/par.ts'
import type { AuthorizationTarget, Prompt } from './authorization/request.ts'
import { createCache } from './cache.ts'
import {
  checkScope,
  createConfig,
  isLoopbackClientId,
  isSamePage,
  type OAuthClientOptions,
} from './config.ts'
import { createClock } from './dpop/clock.ts'
import type { DpopContext } from './dpop/fetch.ts'
import { isUsableKey } from './dpop/key.ts'
import { createDpopNonces } from './dpop/nonces.ts'
import { isOAuthError, OAuthError, oauthError } from './errors.ts'
import { type ClientEvents, createEvents } from './events.ts'
import {
  currentUrl,
  hasCallbackParameters,
  leaveLocalhost,
  navigatePopup,
  onWake,
  openPopup,
  redirect,
  scrubCallbackUrl,
  whenActivated,
} from './navigation.ts'
import { type ClientSnapshot, createAccounts, SERVER_SNAPSHOT } from './session/accounts.ts'
import { type Announcement, type Announcements, openAnnouncements } from './session/announcements.ts'
import type { SessionContext } from './session/context.ts'
import { type Account, Session } from './session/session.ts'
import { runStep, type StepContext } from './steps.ts'
import {
  loadPendingAuthorization,
  savePendingAuthorization,
  sweepAuthorizations,
  takePendingAuthorization,
} from './storage/authorizations.ts'
import { openStorage, type Storage } from './storage/database.ts'
import { loadSession, loadSessions, updateSession } from './storage/sessions.ts'
import { revokeTokens } from './token/revoke.ts'
import type {
  AuthorizationServer,
  Did,
  DpopKey,
  DpopNonce,
  PendingAuthorization,
  SessionRecord,
} from './types.ts'

export interface SignInOptions {
  /** Scope to ask for, all of it declared in the client metadata. Default: the client's `scope`. */
  scope?: string
  /** Given back as `session.appState`, and on errors. Structured-cloneable; stays on this device. */
  appState?: unknown
  /** What the server should show. It is a wish: the reference server always asks public clients' users for consent. */
  prompt?: Prompt
  /** Overrides what the server is told about who is signing in: a handle or DID. Default: what was typed. */
  loginHint?: string
  /** Languages for the server's pages, most wanted first. Default: the browser's. */
  uiLocales?: readonly string[]
  /** Gives up between and during the steps; its reason is thrown. */
  signal?: AbortSignal
}

/** An authorization request that the server has accepted. */
export interface AuthorizationRequest {
  /** Where to send the person. */
  readonly url: string
  readonly state: string
  /** The page must be opened before this, milliseconds since the epoch; after it, ask again. */
  readonly expiresAt: number
}

export interface OAuthClient {
  /** The account this tab uses; `undefined` when nobody is signed in. */
  readonly session: Session | undefined
  readonly accounts: readonly Account[]
  readonly status: ClientSnapshot['status']
  /** Where sessions are kept; `undefined` until that is known. `memory` means: not over a page load. */
  readonly storageTier: 'indexeddb' | 'memory' | undefined

  /**
   * Call once when the page starts. Finishes a sign-in when the URL is its callback, and takes the answer out of the
   * address bar; else brings back the account that was used last, without a request. Idempotent.
   *
   * @returns The session, or `undefined` when nobody is signed in.
   * @throws {OAuthError} What `handleCallback()` throws. Whoever was signed in before still is.
   */
  initialize(): Promise<Session | undefined>

  /**
   * Sends the page to the server of whoever is named. Resolves never; the sign-in ends with `initialize()` on the page
   * that is come back to.
   *
   * @param identifier - A handle, a DID, or the URL of a server, where the person then chooses an account.
   * @throws {OAuthError} `identifier_invalid`, `did_unsupported`, `handle_not_found`, `handle_ambiguous`,
   *   `handle_mismatch`, `did_not_found`, `did_document_invalid`, `resource_metadata_invalid`,
   *   `issuer_metadata_invalid`, `issuer_unsupported`, `client_metadata_invalid`, `token_request_failed`,
   *   `dpop_rejected`, `storage_failed`, or a transport code (`network_failed`, `timed_out`, `response_invalid`).
   */
  signIn(identifier: string, options?: SignInOptions): Promise<never>

  /**
   * Like `signIn()` in a window of its own. Call it inside a click, or the browser blocks the window. The page that
   * the window comes back to must call `initialize()`.
   *
   * @throws {OAuthError} Also `popup_blocked`, `popup_closed`, `timed_out` (ten minutes), and what the callback throws.
   */
  signInWithPopup(identifier: string, options?: SignInOptions): Promise<Session>

  /** Sends the page to a server's sign-up. @param server - URL of a PDS or authorization server. */
  signUp(server: string, options?: SignInOptions): Promise<never>

  /** Like `signIn()` up to the point where the page would leave: the caller navigates. */
  authorize(identifier: string, options?: SignInOptions): Promise<AuthorizationRequest>

  /**
   * Looks up ahead of `signIn()`, for up to a minute, what it will need to know. Call it while the person types.
   * Never rejects.
   */
  prefetch(identifier: string): Promise<void>

  /**
   * Finishes a sign-in. For one callback there is one promise, however often it is asked for.
   *
   * @param url - Default: the page's own URL, out of which the answer is then taken.
   * @throws {OAuthError} `callback_invalid`, `authorization_unknown`, `authorization_expired`, `issuer_mismatch`,
   *   `authorization_refused`, `token_request_failed`, `token_response_invalid`, `scope_missing`, `subject_mismatch`,
   *   `storage_failed`, or a code of `signIn()` when it began with a server. Tokens that were issued are revoked.
   */
  handleCallback(url?: string | URL): Promise<Session>

  /** Opens a stored account without a request. @throws {OAuthError} `session_not_found` */
  restore(did: string): Promise<Session>

  /** Makes a stored account the one this tab uses, and the one that the next page starts with. */
  switchAccount(did: string): Promise<Session>

  /**
   * Forgets an account here and in all tabs, and asks its server to forget it too, for which nothing waits.
   *
   * @param did - Default: the account in use.
   */
  signOut(did?: string): Promise<void>

  /** Calls the listener at once with the snapshot, and again after each change. Returns the way to stop. */
  subscribe(listener: (snapshot: ClientSnapshot) => void): () => void
  getSnapshot(): ClientSnapshot
  /** What a server renders: nothing is known yet. */
  getServerSnapshot(): ClientSnapshot

  /** Listens to one kind of event. Returns the way to stop. */
  on<Type extends keyof ClientEvents>(type: Type, listener: (event: ClientEvents[Type]) => void): () => void

  /** Lets go of database, channel and page events. The client cannot be used afterwards. */
  close(): void
}

/** Time for a person to sign in inside a popup. */
const POPUP_TIMEOUT_MS = 600_000
/** DID, PDS and issuer of a session in use are looked at again this often. */
const AUTHORITY_CHECK_MS = 3_600_000
/** Requests that fail in a row before it is looked at sooner: the account may have moved. */
const FAILURES_BEFORE_CHECK = 3
/** How long before its end a session is reported as ending. */
const ENDING_MS = 86_400_000

const loadSignIn = () => import('./sign-in.ts')

/**
 * Creates the client of one app. Makes no request, opens nothing, and touches no global until it is used, so that it
 * can be created on a server too.
 *
 * @throws {TypeError} For options that cannot work.
 * @throws {OAuthError} `environment_unsupported` on a page that is not a secure context.
 */
export function createOAuthClient(options: OAuthClientOptions = {}): OAuthClient {
  const config = createConfig(options)
  if (globalThis.isSecureContext === false || !globalThis.crypto?.subtle) {
    throw oauthError(
      'environment_unsupported',
      'Signing in needs https (or http://127.0.0.1) and WebCrypto',
      {
        missing: ['a secure context'],
      },
    )
  }
  const { now, allowHttp, name, clientId } = config
  const events = createEvents()
  const cache = createCache(now)
  const callbacks = new Map<string, Promise<Session>>()
  const popups = new Map<string, (announcement: Announcement) => void>()
  const failures = new Map<string, number>()

  // ── signing in ──────────────────────────────────────────────────────────

  async function authorize(
    identifier: string,
    options: SignInOptions,
    popup: boolean,
  ): Promise<AuthorizationRequest & PushedAuthorization> {
    const {
      scope = config.scope,
      signal,
      prompt,
      appState,
      uiLocales = globalThis.navigator?.languages,
    } = options
    const scopeIssue = checkScope(scope)
    if (scopeIssue) throw new TypeError(`scope: ${scopeIssue}`)
    const context = stepContext(signal)
    const steps = await loadSignIn()

    const named = steps.parseIdentifier(identifier, { allowHttp })
    const [storage, dpopKey, client, [target, server]] = await Promise.all([
      openForSignIn(),
      steps.generateDpopKey(),
      context.remember('client', steps.resolveClient),
      findServer(named, context),
    ])
    steps.requireDeclaredScope(client, scope)
    const loginHint =
      options.loginHint ?? ('server' in named ? undefined : 'did' in named ? named.did : named.handle)

    for (;;) {
      const settings = { scope, prompt, loginHint, uiLocales, appState, popup }
      const authorization = await steps.createAuthorization(
        client,
        target,
        server,
        dpopKey,
        settings,
        context,
      )
      const pushed = await steps.pushAuthorization(authorization, await clock(), context)
      const { pending } = authorization
      // Durable before the page leaves: the callback is worth nothing without it.
      await savePendingAuthorization(storage, { ...pending, nonce: pushed.nonce })
      signal?.throwIfAborted()
      // A device that slept meanwhile has a request that the server no longer knows.
      if (now() < pushed.expiresAt) return { ...pushed, state: pending.state }
      await takePendingAuthorization(storage, pending.state)
    }
  }

  /** Whose account it is, and which server may speak for it. */
  async function findServer(
    named: { handle: string } | { did: Did } | { server: string },
    context: StepContext,
  ): Promise<[AuthorizationTarget, AuthorizationServer]> {
    const steps = await loadSignIn()
    if ('server' in named) {
      const server = await steps.discoverNamedServer(named.server, context)
      return [{ did: undefined, handle: undefined, pds: named.server }, server]
    }
    const { did, handle, pds } = await steps.resolveIdentity(named, context)
    return [{ did, handle, pds }, await steps.discoverServer(pds, context)]
  }

  async function signIn(identifier: string, options: SignInOptions = {}): Promise<never> {
    if (isLoopbackClientId(clientId)) await leaveLocalhost()
    const { url } = await authorize(identifier, options, false)
    return runStep(stepContext(options.signal), 'redirect', () => redirect(url))
  }

  async function signInWithPopup(identifier: string, options: SignInOptions = {}): Promise<Session> {
    // Before anything is awaited: a browser opens windows only inside a click.
    const popup = openPopup()
    if (!popup) throw oauthError('popup_blocked', 'The browser did not open a window for the sign-in', {})
    try {
      const { url, state } = await authorize(identifier, options, true)
      if (popup.closed) throw oauthError('popup_closed', 'The window for the sign-in was closed', {})
      const answered = awaitPopup(state, options.signal)
      navigatePopup(popup, url)
      return await answered
    } catch (error) {
      popup.close()
      throw error
    }
  }

  /** The window itself finishes the sign-in and says so; the server's page has cut every other tie to it. */
  async function awaitPopup(state: string, signal: AbortSignal | undefined): Promise<Session> {
    const stop = new AbortController()
    const timer = setTimeout(
      () =>
        stop.abort(
          oauthError('timed_out', 'The sign-in window did not come back', {
            url: name,
            timeoutMs: POPUP_TIMEOUT_MS,
          }),
        ),
      POPUP_TIMEOUT_MS,
    )
    const abort = () => stop.abort(signal?.reason)
    signal?.addEventListener('abort', abort)
    try {
      const answer = await new Promise<Announcement>((resolve, reject) => {
        popups.set(state, resolve)
        stop.signal.addEventListener('abort', () => reject(stop.signal.reason))
        if (signal?.aborted) abort()
      })
      if (answer.type === 'authorized') return await use(await reload(answer.did))
      if (answer.type === 'refused') throw new OAuthError(answer.code, answer.message, answer.facts)
      throw oauthError('authorization_unknown', 'The sign-in window gave no answer', {})
    } catch (error) {
      await takePendingAuthorization((await open()).storage, state)
      throw error
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
      popups.delete(state)
    }
  }

  async function prefetch(identifier: string): Promise<void> {
    const context = { ...stepContext(), onProgress() {} }
    try {
      const { parseIdentifier } = await loadSignIn()
      await findServer(parseIdentifier(identifier, { allowHttp }), context)
    } catch {
      // Whatever is wrong is said when the person signs in.
    }
  }

  // ── coming back ─────────────────────────────────────────────────────────

  async function handleCallback(input?: string | URL): Promise<Session> {
    const url = input === undefined ? currentUrl() : new URL(input)
    if (!url) throw new TypeError('handleCallback() needs a URL where there is no page')
    if (input === undefined) scrubCallbackUrl()
    const key = url.search + url.hash
    const known = callbacks.get(key)
    if (known) return known
    const session = finishSignIn(url)
    callbacks.set(key, session)
    return session
  }

  async function finishSignIn(url: URL): Promise<Session> {
    await whenActivated()
    const steps = await loadSignIn()
    const { storage, announce } = await open()
    const response = steps.parseAuthorizationResponse(url)
    const pending = await takePendingAuthorization(storage, response.state)
    if (!pending) {
      throw oauthError(
        'authorization_unknown',
        'Nothing is pending for this callback: it was used before, or began elsewhere',
        {},
      )
    }
    try {
      if (pending.clientId !== clientId || !isSamePage(pending.redirectUri, url)) {
        throw oauthError('callback_invalid', `The callback belongs to ${pending.redirectUri}`, {
          issues: ['redirect_uri'],
        })
      }
      const code = steps.verifyAuthorizationResponse(response, pending, now())
      const session = await redeem(code, pending)
      session.appState = pending.appState
      if (pending.popup) {
        announce({ type: 'authorized', state: pending.state, did: session.did })
        globalThis.close?.()
      }
      return session
    } catch (error) {
      if (isOAuthError(error)) {
        if (pending.popup) {
          const { code, message, ...facts } = { ...error, message: error.message }
          announce({
            type: 'refused',
            state: pending.state,
            code,
            message,
            facts: JSON.parse(JSON.stringify(facts)),
          })
          globalThis.close?.()
        }
        error.appState = pending.appState
      }
      throw error
    }
  }

  async function redeem(code: string, pending: PendingAuthorization): Promise<Session> {
    const steps = await loadSignIn()
    const context = { ...stepContext(), remember: freshly }
    const dpop = createDpop(pending.dpopKey, await clock())
    dpop.nonces.set(new URL(pending.server.tokenEndpoint).origin, pending.nonce)

    const rechecked = steps.recheckIdentity(pending, context)
    const issued = await steps.exchangeCode(code, pending, dpop, context)
    const discard = (reason: unknown) =>
      steps.discardTokens(issued, pending, dpop, context, reason as OAuthError)
    try {
      const account = await steps.verifySubject(issued.sub, pending, rechecked, context)
      const record = steps.createSessionRecord(issued, pending, account, now())
      const session = await runStep(context, 'store_session', () => storeSession(record, dpop))
      return await use(session)
    } catch (reason) {
      throw await discard(reason)
    }
  }

  async function storeSession(record: SessionRecord, dpop: DpopContext): Promise<Session> {
    const { context } = await open()
    const { before, after } = await updateSession(context.storage, record.did, allowHttp, now(), () => record)
    if (typeof after !== 'object')
      throw oauthError('storage_failed', 'Storage failed to write', { operation: 'write' })
    const session = accounts.open(after)
    for (const url of [record.pds, record.server.tokenEndpoint]) {
      const { origin } = new URL(url)
      session.setNonce(origin, dpop.nonces.entry(origin))
    }
    context.announce({ type: 'session', did: record.did })
    // The session it replaces is ended where it began, with its own key; nothing waits for that.
    if (typeof before === 'object') void revokeRecord(before, createDpop(before.dpopKey, context.clock))
    if (!record.handle) void checkAuthority(session)
    return session
  }

  // ── using sessions ──────────────────────────────────────────────────────

  let initialized: Promise<Session | undefined> | undefined

  async function start(): Promise<Session | undefined> {
    if (isLoopbackClientId(clientId)) await leaveLocalhost()
    const url = currentUrl()
    // Read at once, so that the answer is gone from the address bar before any other code runs.
    const callback = url && hasCallbackParameters(url) && (await isOurs(url)) ? handleCallback() : undefined
    callback?.catch(() => {})
    try {
      const session = await callback?.catch((error: unknown) => {
        if (!isOAuthError(error, 'authorization_unknown')) throw error
        return undefined
      })
      if (session) return session
      const previous = await restoreLast()
      if (callback && !previous) return await callback
      if (callback) events.emit('diagnostic', { code: 'callback_ignored' })
      return previous
    } catch (error) {
      await restoreLast()
      throw error
    } finally {
      accounts.ready()
    }
  }

  /** Another page of the app may have parameters of the same names; only a redirect URI is a callback. */
  async function isOurs(url: URL): Promise<boolean> {
    if (config.redirectUri) return isSamePage(config.redirectUri, url)
    const state = new URLSearchParams(url.search || url.hash.slice(1)).get('state') ?? ''
    const pending = await loadPendingAuthorization((await open()).storage, state)
    return pending !== undefined && isSamePage(pending.redirectUri, url)
  }

  async function restoreLast(): Promise<Session | undefined> {
    const { storage } = await open()
    const did = await storage.get('settings', 'current').catch(() => undefined)
    const session = typeof did === 'string' ? accounts.get(did) : undefined
    accounts.setCurrent(session?.did)
    return session
  }

  async function restore(did: string): Promise<Session> {
    await open()
    const session = accounts.get(did) ?? (await reload(did))
    if (!session) throw oauthError('session_not_found', `No session is stored for ${did}`, { did })
    return session
  }

  /** Makes a session the one in use, here and on the next page. */
  async function use(session: Session | undefined): Promise<Session> {
    if (!session) throw oauthError('session_not_found', 'The session is not stored', { did: '' })
    accounts.setCurrent(session.did)
    const { storage } = await open()
    await storage.update('settings', 'current', () => session.did)
    return session
  }

  async function switchAccount(did: string): Promise<Session> {
    const session = await restore(did)
    await patch(session.did, () => ({ lastUsedAt: now() }))
    return use(session)
  }

  async function signOut(did = accounts.snapshot.session?.did): Promise<void> {
    const { context } = await open()
    if (did === undefined) return
    const dpop = accounts.get(did)?.dpop
    const { before } = await updateSession(context.storage, did, allowHttp, now(), () => 'signed_out')
    accounts.remove(did)
    context.announce({ type: 'session', did })
    void context.storage.update('nonces', did, () => undefined).catch(() => {})
    if (typeof before === 'object')
      await revokeRecord(before, dpop ?? createDpop(before.dpopKey, context.clock))
  }

  async function revokeRecord(record: SessionRecord, dpop: DpopContext): Promise<void> {
    const { server, clientId, tokens } = record
    await revokeTokens(config.fetch, { server, clientId, ...tokens }, dpop)
  }

  /** Writes some members of a stored session, unless it was signed out, and brings its object up to date. */
  async function patch(
    did: string,
    change: (record: SessionRecord) => Partial<SessionRecord>,
  ): Promise<void> {
    const { context } = await open()
    const { after } = await updateSession(context.storage, did, allowHttp, now(), (stored) =>
      typeof stored === 'object' ? { ...stored, ...change(stored) } : undefined,
    )
    if (typeof after === 'object') accounts.open(after)
    context.announce({ type: 'session', did })
  }

  /** Looks in the background whether the account is still where the session thinks, and follows it where it can. */
  async function checkAuthority(session: Session): Promise<void> {
    const { did, pds, issuer } = session
    failures.delete(did)
    try {
      const { findAuthority } = await loadSignIn()
      const context = { ...stepContext(), onProgress() {}, remember: freshly }
      const found = await findAuthority(did, { pds, issuer }, context)
      const moved = found.issuer !== issuer
      await patch(did, () =>
        moved
          ? { ended: 'moved', movedTo: found.pds }
          : { verifiedAt: now(), pds: found.pds, handle: found.handle },
      )
    } catch {
      // A directory that cannot be reached says nothing about the account; the next use asks again in an hour.
      await patch(did, (record) => ({ verifiedAt: Math.max(record.verifiedAt, now()) })).catch(() => {})
    }
  }

  // ── what all of it shares ───────────────────────────────────────────────

  let opened:
    | Promise<{ storage: Storage; context: SessionContext; announce: Announcements['send'] }>
    | undefined
  let tier: Storage['tier'] | undefined
  let dispose = () => {}
  let shared: SessionContext | undefined

  const accounts = createAccounts(
    (record) => new Session(shared as SessionContext, hooks, record),
    (event) => events.emit('session', event),
  )

  const hooks = {
    isCurrent: (session: Session) => accounts.isCurrent(session),
    signOut,
    onChange: (_session: Session, error?: OAuthError) => accounts.changed(error),
    onUse(session: Session, failed: boolean) {
      const { did, record } = session
      if (failed) failures.set(did, (failures.get(did) ?? 0) + 1)
      else if (failures.size) failures.delete(did)
      const due = Math.abs(now() - record.verifiedAt) > AUTHORITY_CHECK_MS
      const suspect = (failures.get(did) ?? 0) >= FAILURES_BEFORE_CHECK
      if ((due || suspect) && !checking.has(did)) {
        checking.add(did)
        void checkAuthority(session).finally(() => checking.delete(did))
      }
    },
  }
  const checking = new Set<string>()

  /** Opens storage and what hangs on it, once, and reads the accounts that are there. */
  function open() {
    opened ??= (async () => {
      const storage = await openStorage(name, config.storage, (cause) =>
        events.emit('diagnostic', { code: 'storage_fallback', cause }),
      )
      const channel = openAnnouncements(name, (announcement) => void hear(announcement))
      const context: SessionContext = {
        name,
        storage,
        clock: createClock(config.fetch, now, appOrigin()),
        fetch: config.fetch,
        now,
        allowHttp,
        announce: channel.send,
      }
      shared = context
      tier = storage.tier
      const stopWaking = onWake((event) => void wake(event))
      dispose = () => {
        stopWaking()
        channel.close()
        storage.close()
      }
      const nonces = new Map(await storage.entries('nonces'))
      const unreadable = (did: string) => events.emit('diagnostic', { code: 'session_unreadable', did })
      for (const record of await loadSessions(storage, allowHttp, now(), unreadable)) {
        const session = accounts.open(record)
        session.setNonce(record.pds, nonces.get(record.did) as DpopNonce | undefined)
        const { endsAt } = session.account
        if (endsAt - now() < ENDING_MS && !record.ended) {
          events.emit('diagnostic', { code: 'session_ending', did: record.did, endsAt })
        }
      }
      void sweepAuthorizations(storage, now()).catch(() => {})
      return { storage, context, announce: channel.send }
    })()
    return opened
  }

  /** Storage that is seen to keep what a sign-in has to find again. Looked at before anything is asked of a server. */
  async function openForSignIn(): Promise<Storage> {
    const { storage } = await open()
    if (storage.tier === 'memory' && config.storage !== 'memory') throw keepsNothing()
    probed ??= (async () => {
      const { generateDpopKey } = await loadSignIn()
      const key = await generateDpopKey()
      await storage.update('settings', 'probe', () => key)
      const kept = await isUsableKey((await storage.get('settings', 'probe')) as DpopKey)
      await storage.update('settings', 'probe', () => undefined)
      if (!kept) throw keepsNothing()
    })()
    probed.catch(() => (probed = undefined))
    await probed
    return storage
  }
  let probed: Promise<void> | undefined

  function keepsNothing(): Error {
    return oauthError(
      'storage_failed',
      'This browser keeps no keys over a page load, so no sign-in could come back',
      {
        operation: 'keep a key',
      },
    )
  }

  async function clock() {
    return (await open()).context.clock
  }

  function createDpop(key: DpopKey, clock: DpopContext['clock']): DpopContext {
    return { key, clock, nonces: createDpopNonces(now) }
  }

  function stepContext(signal?: AbortSignal): StepContext {
    const onProgress: StepContext['onProgress'] = (event) => events.emit('progress', event)
    const context: StepContext = {
      ...config,
      onProgress,
      signal,
      remember: (key, work) => cache(key, () => work({ ...context, signal: undefined })),
    }
    return context
  }

  function freshly<T>(this: void, _key: string, work: (shared: StepContext) => Promise<T>): Promise<T> {
    return work({ ...stepContext(), onProgress() {}, remember: freshly })
  }

  /** Where the app is served from, and its clock can be read. */
  function appOrigin(): string {
    return currentUrl()?.origin ?? new URL(config.redirectUri ?? clientId).origin
  }

  async function reload(did: string): Promise<Session | undefined> {
    const { storage } = await open()
    const stored = await loadSession(storage, did, allowHttp)
    if (typeof stored === 'object') return accounts.open(stored)
    if (stored === 'signed_out') accounts.remove(did)
    return undefined
  }

  /** Another tab changed something: what it was is read from storage. */
  async function hear(announcement: Announcement): Promise<void> {
    if (announcement.type === 'session') await reload(announcement.did).catch(() => {})
    else popups.get(announcement.state)?.(announcement)
  }

  async function wake(event: 'wake' | 'online'): Promise<void> {
    for (const session of accounts.all()) {
      await reload(session.did).catch(() => {})
      if (event === 'online') session.resume()
    }
  }

  return {
    get session() {
      return accounts.snapshot.session
    },
    get accounts() {
      return accounts.snapshot.accounts
    },
    get status() {
      return accounts.snapshot.status
    },
    get storageTier() {
      return tier
    },
    initialize: () => (initialized ??= start()),
    signIn,
    signInWithPopup,
    signUp: (server, options) => signIn(server, { ...options, prompt: 'create' }),
    authorize: (identifier, options = {}) => authorize(identifier, options, false),
    prefetch,
    handleCallback,
    restore,
    switchAccount,
    signOut,
    subscribe: accounts.subscribe,
    getSnapshot: () => accounts.snapshot,
    getServerSnapshot: () => SERVER_SNAPSHOT,
    on: events.on,
    close: () => dispose(),
  }
}
