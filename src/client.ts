import { createCache } from './cache.ts'
import { createConfig, isLoopbackClientId, isSamePage, type OAuthClientOptions } from './config.ts'
import { createClock } from './dpop/clock.ts'
import { createDpopContext } from './dpop/fetch.ts'
import { isOAuthError, oauthError } from './errors.ts'
import { type ClientEvents, createEvents, type DiagnosticEvent } from './events.ts'
import { withoutQuery } from './http.ts'
import { currentUrl, isCallback, leaveLocalhost, onWake, openPopup, scrubCallbackUrl } from './navigation.ts'
import { type ClientSnapshot, createAccounts, SERVER_SNAPSHOT } from './session/accounts.ts'
import { type Announcement, openAnnouncements } from './session/announcements.ts'
import type { SessionContext } from './session/context.ts'
import { isSameSignIn } from './session/refresh.ts'
import { type Account, internalsOf, LiveSession, type Session, type SessionHooks } from './session/session.ts'
import type { AuthorizationRequest, SignInContext, SignInOptions } from './sign-in.ts'
import type { StepContext } from './steps.ts'
import { sweepAuthorizations } from './storage/authorizations.ts'
import { ANSWER_TIMEOUT_MS, openStorage, type Storage } from './storage/database.ts'
import { createSessionStore, type StoredSession } from './storage/sessions.ts'
import { within } from './time.ts'
import { revokeTokens } from './token/revoke.ts'
import type { DpopNonce, SessionRecord } from './types.ts'

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
   *   `dpop_rejected`, `storage_failed`, `module_failed`, or a transport code (`network_failed`, `timed_out`,
   *   `response_invalid`).
   */
  signIn(identifier: string, options?: SignInOptions): Promise<never>

  /**
   * Like `signIn()` in a window of its own. Call it inside a click, or the browser blocks the window. The page that
   * the window comes back to must call `initialize()`.
   *
   * Servers cut the tie to the window, so that nobody can tell when a person closes it: offer a way to give up, and
   * abort `signal` then.
   *
   * @throws {OAuthError} Also `popup_blocked`, `popup_closed` (before the server's page was there, or when the client is
   *   closed), `timed_out` (ten minutes), and what the callback throws.
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
   *   `storage_failed`, `module_failed`, or a code of `signIn()` when it began with a server. Tokens that were issued are
   *   revoked.
   */
  handleCallback(url?: string | URL): Promise<Session>

  /** Opens a stored account without a request. @throws {OAuthError} `session_not_found` */
  restore(did: string): Promise<Session>

  /** Makes a stored account the one this tab uses, and the one that the next page starts with. */
  switchAccount(did: string): Promise<Session>

  /**
   * Forgets an account here and in all tabs at once, then asks its server to forget it too. That may take five seconds and
   * may fail; nothing depends on it. Storage that is held by others is waited for ten seconds.
   *
   * @param did - Default: the account in use.
   * @throws {OAuthError} `storage_failed` when storage would not let go of it. This tab and the server have.
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

/** DID, PDS and issuer of a session in use are looked at again this often. */
const AUTHORITY_CHECK_MS = 3_600_000
/** Requests that fail in a row before it is looked at sooner: the account may have moved. */
const FAILURES_BEFORE_CHECK = 3
/** How long before its end a session is reported as ending. */
const ENDING_MS = 86_400_000

/** Whether a call that failed can be made again: nothing that it needs was spent. */
const isUnspent = (error: unknown) =>
  isOAuthError(error) && (error.retryable || error.code === 'module_failed')

/** The half that only a sign-in needs: a page that restores a session never loads it. */
const loadSignIn = () =>
  import('./sign-in.ts').catch((cause: unknown) => {
    throw oauthError('module_failed', {}, cause)
  })

/**
 * Creates the client of one app. Makes no request, opens nothing, and touches no global until it is used, so that it
 * can be created on a server too.
 *
 * @throws {TypeError} For options that cannot work.
 * @throws {OAuthError} `environment_unsupported` on a page that is not a secure context.
 */
export function createOAuthClient(options: OAuthClientOptions = {}): OAuthClient {
  const config = createConfig(options)
  const { now, allowHttp, name, clientId } = config
  if (!globalThis.crypto?.subtle)
    throw oauthError('environment_unsupported', { missing: ['a secure context (https)'] })
  /** Under which the account is kept that the next page starts with. */
  const lastUsed = `current ${clientId}`
  const events = createEvents()
  const cache = createCache(now)
  const accounts = createAccounts(
    (record, dpop) => new LiveSession(shared as SessionContext, hooks, record, dpop),
    (event) => events.emit('session', event),
  )

  // Signing in

  async function authorize(identifier: string, options: SignInOptions = {}): Promise<AuthorizationRequest> {
    const { authorize } = await loadSignIn()
    return authorize(identifier, options, await signInContext(options))
  }

  async function signIn(identifier: string, options: SignInOptions = {}): Promise<never> {
    const { signIn } = await loadSignIn()
    return signIn(identifier, options, await signInContext(options))
  }

  async function signInWithPopup(identifier: string, options: SignInOptions = {}): Promise<Session> {
    if (isElsewhere()) return leaveLocalhost()
    // Before anything is awaited: a browser opens windows only inside a click.
    const popup = openPopup()
    if (!popup) throw oauthError('popup_blocked', {})
    try {
      const { signInWithPopup } = await loadSignIn()
      return await signInWithPopup(identifier, options, popup, await signInContext(options))
    } catch (error) {
      popup.close()
      throw error
    }
  }

  async function prefetch(identifier: string): Promise<void> {
    try {
      const { prefetch } = await loadSignIn()
      await prefetch(identifier, { ...stepContext({}), onProgress() {} })
    } catch {
      // Whatever is wrong is said when the person signs in.
    }
  }

  // Coming back

  /** The callback that this page was opened with. By now it is out of the address bar. */
  let arrived: URL | undefined

  function takeCallback(): URL | undefined {
    const url = currentUrl()
    // Any answer, also one that is none of ours, is looked at rather than the one before it.
    if (/[?#&](code|error|response)=/.test(`${url}`)) arrived = url
    scrubCallbackUrl()
    return arrived ?? url
  }

  async function handleCallback(input?: string | URL): Promise<Session> {
    const url = input ? new URL(input) : takeCallback()
    if (!url) throw new TypeError('handleCallback() needs a URL where there is no page')
    const key = url.search + url.hash
    const session = callbacks.get(key) ?? finishSignIn(url)
    callbacks.set(key, session)
    // What failed before anything was spent can be tried again.
    session.catch((error: unknown) => {
      if (isUnspent(error)) callbacks.delete(key)
    })
    return session
  }

  async function finishSignIn(url: URL): Promise<Session> {
    const { finishSignIn } = await loadSignIn()
    const session = await finishSignIn(url, await signInContext({}))
    if (!internalsOf(session).record().verifiedAt) void checkAuthority(session)
    return session
  }

  // Using sessions

  let initialized: Promise<Session | undefined> | undefined

  async function start(): Promise<Session | undefined> {
    if (isElsewhere()) return leaveLocalhost()
    // Read and taken out of the address bar before anything is awaited, and so before any other code can see it.
    const url = arrived ?? currentUrl()
    const ours = url && isCallback(url) && (!config.redirectUri || isSamePage(config.redirectUri, url))
    const callback = ours ? handleCallback() : undefined
    callback?.catch(() => {})
    try {
      return await (callback ?? restoreLast())
    } catch (error) {
      // Whoever was signed in before still is. A callback that was opened again is no reason to say more.
      const previous = await restoreLast()
      if (!previous || !isOAuthError(error, 'authorization_unknown')) throw error
      diagnose({ code: 'callback_ignored' })
      return previous
    } finally {
      accounts.ready()
    }
  }

  async function restoreLast(): Promise<Session | undefined> {
    const { storage } = await open()
    const did = await storage.get('settings', lastUsed)
    // Somebody has signed in, or switched, while this was read.
    if (accounts.snapshot.session) return accounts.snapshot.session
    const session = typeof did === 'string' ? accounts.get(did) : undefined
    accounts.setCurrent(session?.did)
    return session
  }

  async function restore(did: string): Promise<Session> {
    await reload(did)
    const session = accounts.get(did)
    if (!session) throw oauthError('session_not_found', { did })
    return session
  }

  /** Makes a session the one in use, here and on the next page. */
  async function use(session: Session): Promise<Session> {
    const { did } = session
    if (accounts.get(did) !== session) throw oauthError('session_not_found', { did })
    accounts.setCurrent(did)
    const { storage } = await open()
    // Not worth failing for: the next page starts with another account, or with none.
    await storage.update('settings', lastUsed, () => did).catch(() => {})
    return session
  }

  async function switchAccount(did: string): Promise<Session> {
    const session = await restore(did)
    await patch(internalsOf(session).record(), { lastUsedAt: now() }).catch(() => {})
    return use(session)
  }

  async function signOut(given?: string): Promise<void> {
    const context = await open()
    // As the handler of a click it is given the event.
    const named = typeof given === 'string'
    if (!named && !accounts.snapshot.session) await (initialized ?? restoreLast()).catch(() => {})
    const did = named ? given : (accounts.snapshot.session?.did ?? '')
    const session = accounts.get(did)
    const inMemory = session && internalsOf(session).record()
    let known: StoredSession = inMemory
    let unanswered = false
    try {
      const mark = context.sessions.update(did, (stored) => (stored ?? inMemory) && 'signed_out')
      const marked = await within(mark, ANSWER_TIMEOUT_MS)
      // Written as soon as whoever holds the database lets go of it.
      if (!marked) unanswered = true
      else known = marked.before ?? inMemory
    } catch {
      // No room for a mark; deleting needs none, and makes room. Without a mark other tabs would write it anew.
      await context.sessions.remove(did)
      await context.sessions.update(did, () => 'signed_out').catch(() => {})
    } finally {
      // Whatever storage says, this tab is signed out, and the server is told.
      accounts.remove(did)
      context.announce({ type: 'session', did })
      forget(context.storage, did)
      if (typeof known === 'object') {
        await revokeTokens(
          config.fetch,
          known,
          known.tokens,
          // Another tab may have signed in anew, with another key.
          session && inMemory && isSameSignIn(known, inMemory)
            ? internalsOf(session).dpop()
            : createDpopContext(known.dpopKey, context),
        )
      }
    }
    if (unanswered) throw oauthError('storage_failed', { operation: 'write' })
  }

  /** What else names an account that was signed out. */
  function forget(storage: Storage, did: string): void {
    storage.update('nonces', did, () => undefined).catch(() => {})
    storage.update('settings', lastUsed, (current) => (current === did ? undefined : current)).catch(() => {})
  }

  /** Writes some members of a session, unless it was signed out or in anew, and brings its object up to date. */
  async function patch(record: SessionRecord, change: Partial<SessionRecord>): Promise<void> {
    const { did } = record
    const { sessions, announce } = await open()
    const { after } = await sessions.update(did, (stored) =>
      typeof stored === 'object' && isSameSignIn(stored, record) ? { ...stored, ...change } : undefined,
    )
    if (typeof after === 'object') accounts.open(after)
    if (after === 'signed_out') accounts.remove(did)
    announce({ type: 'session', did })
  }

  /** Looks in the background whether the account is still where the session thinks, and follows it where it can. */
  async function checkAuthority(session: Session): Promise<void> {
    const { did } = session
    const record = internalsOf(session).record()
    if (checking.has(did)) return
    checking.add(did)
    try {
      if (!(await claimCheck(record))) return
      const { checkAuthority } = await loadSignIn()
      const change = await checkAuthority(record, { ...stepContext({}), onProgress() {} })
      await patch(record, change)
      // Its old server still holds the session open.
      const moved = internalsOf(session).record()
      if (moved.ended === 'moved')
        await revokeTokens(config.fetch, moved, moved.tokens, internalsOf(session).dpop())
    } catch {
      // Looked at again with the next use.
    } finally {
      checking.delete(did)
    }
  }

  /** Whether it is this tab that looks: of those that want to at the same time, one does. */
  async function claimCheck(record: SessionRecord): Promise<boolean> {
    const { did, verifiedAt } = record
    const { sessions } = await open()
    let mine = true
    const { after } = await sessions.update(did, (stored) => {
      mine = !stored || (typeof stored === 'object' && stored.verifiedAt === verifiedAt)
      return mine && typeof stored === 'object' ? { ...stored, verifiedAt: now() } : undefined
    })
    const session = accounts.get(did)
    if (typeof after === 'object') accounts.open(after)
    // Deleted under this page, which goes on with what it knows unless it has signed out.
    else if (mine && session && isSameSignIn(internalsOf(session).record(), record))
      accounts.open({ ...record, verifiedAt: now() })
    return mine
  }

  // What all of it shares

  /** Redirect and storage of a loopback client live on the IP address: on `localhost` nothing may be stored. */
  const isElsewhere = () => isLoopbackClientId(clientId) && currentUrl()?.hostname === 'localhost'
  const diagnose = (event: DiagnosticEvent) => events.emit('diagnostic', event)
  const reportUnreadable = (did: string) => diagnose({ code: 'session_unreadable', did })
  let opened: Promise<SessionContext> | undefined
  let shared: SessionContext | undefined
  let dispose = () => {}
  let closed = false
  const callbacks = new Map<string, Promise<Session>>()
  const popups = new Map<string, (announcement: Announcement) => void>()
  /** Accounts whose end has been reported. */
  const ending = new Set<string>()
  /** Accounts whose authority is being looked at. */
  const checking = new Set<string>()
  /** Requests in a row that did not reach an account's server. */
  const failures = new Map<string, number>()

  const hooks: SessionHooks = {
    isCurrent: accounts.isCurrent,
    signOut,
    onChange: accounts.changed,
    onSignedOut(session) {
      if (accounts.get(session.did) === session) accounts.remove(session.did)
    },
    onUse(session, failed) {
      const { did } = session
      const record = internalsOf(session).record()
      const count = failed ? (failures.get(did) ?? 0) + 1 : 0
      failures.set(did, count)
      reportEnding(session)
      if (Math.abs(now() - record.verifiedAt) > AUTHORITY_CHECK_MS || count === FAILURES_BEFORE_CHECK)
        void checkAuthority(session)
    },
  }

  function reportEnding(session: Session): void {
    const { did } = session
    const { endsAt } = session.account
    const end = `${did} ${endsAt}`
    if (internalsOf(session).record().ended || endsAt - now() > ENDING_MS || ending.has(end)) return
    ending.add(end)
    diagnose({ code: 'session_ending', did, endsAt })
  }

  /** Opens storage and what hangs on it, once, and reads the accounts that are there. */
  function open(): Promise<SessionContext> {
    opened ??= (async () => {
      if (isElsewhere()) await leaveLocalhost()
      const storage = await openStorage(name, config.storage, (cause) =>
        diagnose({ code: 'storage_fallback', cause }),
      )
      const sessions = createSessionStore(storage, config)
      const channel = openAnnouncements(name, hear)
      const stopWaking = onWake((event) => void wake(event).catch(() => {}))
      dispose = () => {
        stopWaking()
        channel.close()
        storage.close()
      }
      if (closed) dispose()
      const page = currentUrl() ?? new URL(config.redirectUri ?? clientId)
      // The page of a worker may be a blob of the app's own.
      const clock = createClock(config.fetch, now, withoutQuery(page.href.replace(/^blob:/, '')))
      shared = {
        name,
        allowHttp,
        clientId,
        storage,
        sessions,
        clock,
        now,
        fetch: config.fetch,
        announce: channel.send,
        diagnose,
        onMissingNonce: (url) => diagnose({ code: 'nonce_missing', url }),
      }
      const nonces = new Map(await storage.entries('nonces'))
      for (const record of await sessions.loadAll(reportUnreadable)) {
        const session = accounts.open(record)
        internalsOf(session)
          .dpop()
          .nonces.set(record.pds, nonces.get(record.did) as DpopNonce | undefined)
        reportEnding(session)
      }
      sweepAuthorizations(storage, now()).catch(() => {})
      return shared
    })()
    opened.catch(() => {
      dispose()
      opened = undefined
    })
    return opened
  }

  function stepContext({ signal }: SignInOptions): StepContext {
    const context: StepContext = {
      ...config,
      signal,
      onProgress: (event) => events.emit('progress', event),
      remember: (key, work) => cache(key, () => work({ ...context, signal: undefined })),
    }
    return context
  }

  async function signInContext(options: SignInOptions): Promise<SignInContext> {
    return {
      ...stepContext(options),
      session: await open(),
      use(record, appState, dpop) {
        const session = accounts.open(record, dpop)
        // Before it is the one in use: whoever renders it then looks.
        session.appState = appState
        return use(session)
      },
      awaitPopup: (state) =>
        new Promise((resolve) => {
          popups.set(state, resolve)
          if (closed) giveUp()
        }),
    }
  }

  /** Nobody will hear what the windows have to say. */
  function giveUp(): void {
    for (const [state, tell] of popups) tell({ type: 'refused', state, code: 'popup_closed', facts: {} })
  }

  /** Reads again what is stored for an account, which another tab may have changed. */
  async function reload(did: string): Promise<void> {
    const { sessions } = await open()
    const stored = await sessions.load(did)
    if (typeof stored === 'object') accounts.open(stored)
    if (stored === 'signed_out') accounts.remove(did)
  }

  function hear(announcement: Announcement): void {
    if (announcement.type === 'session') reload(announcement.did).catch(() => {})
    else popups.get(announcement.state)?.(announcement)
  }

  /** A page that slept, or was offline, or is going to sleep. */
  async function wake({ type }: Event): Promise<void> {
    if (type === 'pagehide') return shared?.storage.suspend()
    if (type === 'visibilitychange' && document.visibilityState === 'hidden') return
    shared?.storage.resume()
    const context = await open()
    const stored = await context.sessions.loadAll(reportUnreadable).catch(() => [])
    for (const { did } of stored) if (!accounts.get(did)) await reload(did).catch(() => {})
    for (const session of accounts.all()) {
      await reload(session.did).catch(() => {})
      if (type === 'online') internalsOf(session).resume()
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
      return shared?.storage.tier
    },
    initialize() {
      initialized ??= start()
      initialized.catch((error: unknown) => {
        if (isUnspent(error)) initialized = undefined
      })
      return initialized
    },
    signIn,
    signInWithPopup,
    signUp: (server, options) => signIn(server, { ...options, prompt: 'create' }),
    authorize,
    prefetch,
    handleCallback,
    restore,
    switchAccount,
    signOut,
    subscribe: accounts.subscribe,
    getSnapshot: () => accounts.snapshot,
    getServerSnapshot: () => SERVER_SNAPSHOT,
    on: events.on,
    close() {
      closed = true
      giveUp()
      dispose()
    },
  }
}
