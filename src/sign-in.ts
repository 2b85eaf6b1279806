import { requireDeclaredScope, resolveClient } from './authorization/client.ts'
import { createSessionRecord, exchangeCode } from './authorization/exchange.ts'
import { pushAuthorization } from './authorization/par.ts'
import {
  type AuthorizationOptions,
  type AuthorizationTarget,
  createAuthorization,
  PROMPTS,
  type Prompt,
} from './authorization/request.ts'
import { parseAuthorizationResponse, verifyAuthorizationResponse } from './authorization/response.ts'
import { findAuthority, recheckIdentity, verifySubject } from './authorization/subject.ts'
import { checkScope, isSamePage } from './config.ts'
import { discoverNamedServer, discoverServer } from './discovery/discover.ts'
import { createDpopContext, type DpopContext } from './dpop/fetch.ts'
import { generateDpopKey, isUsableKey } from './dpop/key.ts'
import { isOAuthError, OAuthError, oauthError } from './errors.ts'
import { given, withoutQuery } from './http.ts'
import { type Identifier, parseIdentifier } from './identity/identifier.ts'
import { resolveIdentity } from './identity/identity.ts'
import { navigatePopup, redirect, whenActivated } from './navigation.ts'
import type { Announcement } from './session/announcements.ts'
import type { SessionContext } from './session/context.ts'
import type { Session } from './session/session.ts'
import { runStep, type StepContext } from './steps.ts'
import {
  isExpired,
  loadPendingAuthorization,
  savePendingAuthorization,
  takePendingAuthorization,
} from './storage/authorizations.ts'
import { isUsableServer } from './storage/sessions.ts'
import { abortable, within } from './time.ts'
import { revokeTokens } from './token/revoke.ts'
import type { AuthorizationServer, DpopKey, PendingAuthorization, SessionRecord } from './types.ts'

export interface SignInOptions {
  /** Scope to ask for, all of it declared in the client metadata. Default: the client's `scope`. */
  scope?: string | undefined
  /** Given back as `session.appState`, and on errors. Structured-cloneable; stays on this device. */
  appState?: unknown
  /** What the server should show. It is a wish: the reference server always asks public clients' users for consent. */
  prompt?: Prompt | undefined
  /** Overrides what the server is told about who is signing in: a handle or DID. Default: what was typed. */
  loginHint?: string | undefined
  /** Languages for the server's pages, most wanted first. Default: the browser's. */
  uiLocales?: readonly string[] | undefined
  /** Gives up between and during the steps; its reason is thrown. */
  signal?: AbortSignal | undefined
}

/** An authorization request that the server has accepted. */
export interface AuthorizationRequest {
  /** Where to send the person. */
  readonly url: string
  readonly state: string
  /** The page must be opened before this, milliseconds since the epoch; after it, ask again. */
  readonly expiresAt: number
}

/** Where a sign-in happens: what it may use, and what becomes of its result. */
export interface SignInContext extends StepContext {
  session: SessionContext
  /** Makes a stored session the one in use; it goes on with what is known of its server's nonces. */
  use(record: SessionRecord, appState: unknown, dpop?: DpopContext): Promise<Session>
  /** Calls back with what the window of a popup sign-in has to say. */
  awaitPopup(state: string): Promise<Announcement>
}

/** For everything that is looked up before a server is asked to sign somebody in. */
const RESOLUTION_TIMEOUT_MS = 15_000
/** Time for a person to sign in inside a popup. */
const POPUP_TIMEOUT_MS = 600_000

/**
 * Identifier → account and server → authorization request, accepted and stored: everything before the page leaves.
 *
 * @param way - How another page is going to have the answer; `undefined` when the caller brings it to this one.
 */
export async function authorize(
  identifier: string,
  options: SignInOptions,
  context: SignInContext,
  way?: 'redirect' | 'popup',
): Promise<AuthorizationRequest> {
  const { now, session, signal } = context
  const named = parseIdentifier(identifier, context)
  const settings = { ...readOptions(named, options, context), popup: way === 'popup' }
  await probeStorage(context, way !== undefined)
  const looking = Promise.all([context.remember('client', resolveClient), findServer(named, context)])
  const found = await within(looking, RESOLUTION_TIMEOUT_MS)
  if (!found)
    throw oauthError('timed_out', { url: `${Object.values(named)}`, timeoutMs: RESOLUTION_TIMEOUT_MS })
  const [client, [target, server]] = found
  requireDeclaredScope(client, settings.scope)

  // A device that sleeps in between finds its request forgotten by the server: another one is made, once.
  for (let attempts = 2; ; ) {
    const dpopKey = await generateDpopKey()
    const { parameters, pending } = await createAuthorization(
      client,
      target,
      server,
      dpopKey,
      settings,
      context,
    )
    const { url, expiresAt, nonce } = await pushAuthorization({ parameters, pending }, session, context)
    const { state } = pending
    // Durable before the page leaves: the callback is worth nothing without it.
    await savePendingAuthorization(session.storage, { ...pending, nonce })
    attempts -= 1
    if ((now() < expiresAt || attempts === 0) && !signal?.aborted) return { url, state, expiresAt }
    await takePendingAuthorization(session.storage, state)
    signal?.throwIfAborted()
  }
}

/** @throws {TypeError} For options that no server would take, before anything is asked of one. */
function readOptions(
  named: Identifier,
  options: SignInOptions,
  context: SignInContext,
): Omit<AuthorizationOptions, 'popup'> {
  const {
    scope = context.scope,
    appState,
    prompt,
    loginHint,
    signal: _,
    uiLocales = globalThis.navigator?.languages,
    ...unknown
  } = given(options)
  const issues = checkScope(scope)
  for (const name of Object.keys(unknown)) issues.push(`${name} is not an option`)
  if (prompt && !PROMPTS.includes(prompt)) issues.push(`prompt must be one of ${PROMPTS.join(', ')}`)
  if (prompt === 'create' && !('server' in named)) issues.push('prompt create needs the URL of a server')
  try {
    structuredClone(appState)
  } catch {
    issues.push('appState must be plain data, or a plain copy of what a framework made reactive')
  }
  if (issues.length) throw new TypeError(issues.join('; '))
  const hint = loginHint === undefined ? named : parseIdentifier(loginHint, context)
  if (loginHint !== undefined && 'server' in hint) throw new TypeError('loginHint must be a handle or a DID')
  const login = 'did' in hint ? hint.did : 'handle' in hint ? hint.handle : undefined
  return { scope, prompt, loginHint: login, uiLocales, appState }
}

/** Whose account it is, and which server may speak for it. */
export async function findServer(
  named: Identifier,
  context: StepContext,
): Promise<[AuthorizationTarget, AuthorizationServer]> {
  if ('server' in named) {
    const server = await discoverNamedServer(named.server, context)
    return [{ did: undefined, handle: undefined, pds: named.server }, server]
  }
  const { did, handle, pds } = await resolveIdentity(named, context)
  return [{ did, handle, pds }, await discoverServer(pds, context)]
}

export async function signIn(
  identifier: string,
  options: SignInOptions,
  context: SignInContext,
): Promise<never> {
  const request = await authorize(identifier, options, context, 'redirect')
  let left = false
  try {
    return await runStep(context, 'redirect', () => {
      left = true
      return redirect(request.url)
    })
  } finally {
    if (!left) forget(request, context)
  }
}

/** Whether an account is the one that was named: what other pages say is not proof of it. */
function isMeant({ did, handle }: SessionRecord, named: Identifier): boolean {
  return 'server' in named || ('did' in named ? did === named.did : handle === named.handle)
}

/** What nobody will come back with need not stay; a storage that keeps it all the same is swept later. */
function forget({ state }: AuthorizationRequest, { session }: SignInContext): void {
  takePendingAuthorization(session.storage, state).catch(() => {})
}

/** @internal Signs in through a window that the caller has opened. The window finishes the sign-in itself and says so. */
export async function signInWithPopup(
  identifier: string,
  options: SignInOptions,
  popup: Window,
  context: SignInContext,
): Promise<Session> {
  let request: AuthorizationRequest | undefined
  try {
    request = await authorize(identifier, options, context, 'popup')
    if (popup.closed) throw oauthError('popup_closed', {})
    navigatePopup(popup, request.url)
    const answer = await abortable(
      within(context.awaitPopup(request.state), POPUP_TIMEOUT_MS),
      context.signal,
    )
    if (answer?.type === 'refused') throw new OAuthError(answer.code, { ...answer.facts })
    const stored = answer?.type === 'authorized' && (await context.session.sessions.load(answer.did))
    if (stored && stored !== 'signed_out' && isMeant(stored, parseIdentifier(identifier, context)))
      return await context.use(stored, options.appState)
    throw oauthError('timed_out', { url: withoutQuery(request.url), timeoutMs: POPUP_TIMEOUT_MS })
  } catch (error) {
    if (request) forget(request, context)
    throw error
  }
}

export async function prefetch(identifier: string, context: StepContext): Promise<void> {
  await findServer(parseIdentifier(identifier, context), context)
}

/** Callback URL → pending request → code → tokens → verified account → session: everything after the page is back. */
export async function finishSignIn(url: URL, context: SignInContext): Promise<Session> {
  const { now, clientId, session } = context
  await whenActivated()
  const response = parseAuthorizationResponse(url)
  const known = await loadPendingAuthorization(session.storage, response.state)
  if (known && (known.clientId !== clientId || !isSamePage(known.redirectUri, url))) {
    throw oauthError('callback_invalid', { issues: ['redirect_uri'] })
  }
  const pending = await takePendingAuthorization(session.storage, response.state)
  if (!pending || !isUsableServer(pending.server, context.allowHttp))
    throw oauthError('authorization_unknown', {})
  const { state, appState, popup } = pending
  try {
    if (isExpired(now() - pending.createdAt)) throw oauthError('authorization_expired', {})
    const code = verifyAuthorizationResponse(response, pending)
    const opened = await redeem(code, pending, context)
    if (popup) session.announce({ type: 'authorized', state, did: opened.did })
    return opened
  } catch (error) {
    if (isOAuthError(error)) {
      if (popup) session.announce({ type: 'refused', state, code: error.code, facts: { ...error } })
      error.appState = appState
      // What the call needs is spent: it would fail the same way.
      Object.defineProperty(error, 'retryable', { value: false })
    }
    throw error
  } finally {
    if (popup) globalThis.close?.()
  }
}

/** Nothing of a session is stored until everything about it holds; whatever was issued for one that does not is revoked. */
async function redeem(code: string, pending: PendingAuthorization, context: SignInContext): Promise<Session> {
  const { fetch, now, session } = context
  const fresh: StepContext = { ...context, remember: (_key, work) => work({ ...fresh, onProgress() {} }) }
  const dpop = createDpopContext(pending.dpopKey, session)
  dpop.nonces.set(new URL(pending.server.pushedAuthorizationRequestEndpoint).origin, pending.nonce)

  const rechecked = recheckIdentity(pending, fresh)
  const issued = await exchangeCode(code, pending, dpop, fresh)
  try {
    const account = await verifySubject(issued.sub, pending, rechecked, fresh)
    const record = createSessionRecord(issued, pending, account, now())
    const stored = await runStep(context, 'store_session', () => storeSession(record, dpop, context))
    return await context.use(stored, pending.appState, dpop)
  } catch (reason) {
    await revokeTokens(fetch, pending, issued.tokens, dpop)
    throw reason
  }
}

/** The session that a new one replaces is ended where it began, with its own key; nothing waits for that. */
async function storeSession(
  record: SessionRecord,
  dpop: DpopContext,
  { fetch, session }: SignInContext,
): Promise<SessionRecord> {
  const { did, pds } = record
  const { before, after } = await session.sessions.update(did, (stored) => {
    // What was verified for the session before stands until it is looked at again, which is soon.
    const handle = record.handle ?? (typeof stored === 'object' ? stored.handle : undefined)
    return { ...record, handle }
  })
  session.storage.update('nonces', did, () => dpop.nonces.entry(pds)).catch(() => {})
  session.announce({ type: 'session', did })
  if (typeof before === 'object') {
    const previous = createDpopContext(before.dpopKey, session)
    // With the nonce it takes one request: the page may go on after that.
    const { origin } = new URL(before.server.tokenEndpoint)
    previous.nonces.set(origin, dpop.nonces.entry(origin))
    void revokeTokens(fetch, before, before.tokens, previous)
  }
  return after as SessionRecord
}

/** Makes sure that storage keeps what a sign-in has to find again, before anything is asked of a server. */
async function probeStorage({ session, storage }: SignInContext, leaves: boolean): Promise<void> {
  const key = await generateDpopKey()
  const name = `probe ${crypto.randomUUID()}`
  await session.storage.update('settings', name, () => key)
  const kept = await isUsableKey((await session.storage.get('settings', name)) as DpopKey)
  await session.storage.update('settings', name, () => undefined)
  if (!kept || (session.storage.tier === 'memory' && (leaves || storage !== 'memory'))) {
    throw oauthError('storage_failed', { operation: 'keep a key' })
  }
}

/**
 * What changes in a session's record when its account is looked at again. A directory that cannot be reached says
 * nothing about the account.
 */
export async function checkAuthority(
  record: SessionRecord,
  context: StepContext,
): Promise<Partial<SessionRecord>> {
  const { did, pds, handle, server } = record
  const verifiedAt = context.now()
  const fresh: StepContext = { ...context, remember: (_key, work) => work(fresh) }
  try {
    const found = await findAuthority(did, { pds, issuer: server.issuer, handle }, fresh)
    return found.issuer === server.issuer
      ? { verifiedAt, pds: found.pds, handle: found.handle }
      : { ended: 'moved', movedTo: found.pds }
  } catch {
    return { verifiedAt }
  }
}
