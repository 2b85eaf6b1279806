import type { Clock } from '../dpop/clock.ts'
import type { Fetch } from '../http.ts'
import type { Storage } from '../storage/database.ts'
import type { SessionStore } from '../storage/sessions.ts'
import type { Announcement } from './announcements.ts'

/** What every session of one client shares. */
export interface SessionContext {
  /** Prefix of lock names, unique to the namespace. */
  name: string
  storage: Storage
  sessions: SessionStore
  clock: Clock
  fetch: Fetch
  now: () => number
  allowHttp: boolean
  /** A service worker that does not guard refreshes. */
  unguarded?: ServiceWorker
  announce(announcement: Announcement): void
}
