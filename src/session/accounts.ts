import type { DpopContext } from '../dpop/fetch.ts'
import type { OAuthError } from '../errors.ts'
import { notify } from '../events.ts'
import type { SessionRecord } from '../types.ts'
import { type Account, internalsOf, type Session, type SessionStatus } from './session.ts'

/** Everything an app renders: replaced as a whole when anything in it changes, the same object until then. */
export interface ClientSnapshot {
  /** `initializing` until `initialize()` has looked into storage and the URL. */
  readonly status: 'initializing' | 'signed-out' | 'signed-in'
  /** The account this tab uses: to make requests with. */
  readonly session: Session | undefined
  /** The same account: to show. One of {@link accounts}. */
  readonly account: Account | undefined
  /** All accounts that were signed in on this device, in that order, and have not been signed out. */
  readonly accounts: readonly Account[]
}

/** A session began, ended or stands differently. */
export interface SessionEvent {
  did: string
  status: SessionStatus | 'signed_out'
  previous: SessionStatus | undefined
  /** Why, when something failed. */
  error: OAuthError | undefined
}

export interface Accounts {
  readonly snapshot: ClientSnapshot
  /** Calls the listener at once, and again after each change. */
  subscribe(listener: (snapshot: ClientSnapshot) => void): () => void
  get(did: string): Session | undefined
  all(): Session[]
  isCurrent(session: Session): boolean
  /** The one object of a stored session: the one there is brings itself up to date. */
  open(record: SessionRecord, dpop?: DpopContext): Session
  remove(did: string): void
  setCurrent(did: string | undefined): void
  ready(): void
  /** Makes the snapshot anew and reports sessions that stand differently. */
  changed(error?: OAuthError): void
}

export const SERVER_SNAPSHOT: ClientSnapshot = {
  status: 'initializing',
  session: undefined,
  account: undefined,
  accounts: [],
}

/** The accounts of one client. Memory only; who calls decides what is stored. */
export function createAccounts(
  createSession: (record: SessionRecord, dpop?: DpopContext) => Session,
  onSession: (event: SessionEvent) => void,
): Accounts {
  const sessions = new Map<string, Session>()
  const reported = new Map<string, SessionStatus>()
  const listeners = new Set<(snapshot: ClientSnapshot) => void>()
  let current: string | undefined
  let initialized = false
  let snapshot = SERVER_SNAPSHOT

  const accounts: Accounts = {
    get snapshot() {
      return snapshot
    },
    subscribe(listener) {
      listeners.add(listener)
      listener(snapshot)
      return () => listeners.delete(listener)
    },
    get: (did) => sessions.get(did),
    all: () => [...sessions.values()].sort((a, b) => createdAt(a) - createdAt(b)),
    isCurrent: (session) => session.did === current,
    open(record, dpop) {
      const session = sessions.get(record.did) ?? createSession(record, dpop)
      internalsOf(session).adopt(record, dpop)
      sessions.set(record.did, session)
      accounts.changed()
      return session
    },
    remove(did) {
      const session = sessions.get(did)
      if (!session) return
      internalsOf(session).adopt('signed_out')
      sessions.delete(did)
      if (current === did) current = undefined
      accounts.changed()
    },
    setCurrent(did) {
      current = did
      accounts.changed()
    },
    ready() {
      initialized = true
      accounts.changed()
    },
    changed(error) {
      const session = current === undefined ? undefined : sessions.get(current)
      const all = accounts.all().map((each) => each.account)
      const next: ClientSnapshot = {
        status: session ? 'signed-in' : initialized ? 'signed-out' : 'initializing',
        session,
        account: all.find((account) => account.current),
        accounts: all,
      }
      const isSame =
        next.status === snapshot.status &&
        next.session === snapshot.session &&
        JSON.stringify(next.accounts) === JSON.stringify(snapshot.accounts)
      if (!isSame) snapshot = next
      for (const [did, previous] of reported) {
        if (sessions.has(did)) continue
        reported.delete(did)
        onSession({ did, status: 'signed_out', previous, error })
      }
      for (const { did, status } of snapshot.accounts) {
        const previous = reported.get(did)
        if (status === previous) continue
        reported.set(did, status)
        onSession({ did, status, previous, error })
      }
      if (!isSame) notify(listeners, snapshot)
    },
  }
  return accounts
}

const createdAt = (session: Session) => internalsOf(session).record().createdAt
