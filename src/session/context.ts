import type { DpopSource } from '../dpop/fetch.ts'
import type { DiagnosticEvent } from '../events.ts'
import type { Fetch } from '../http.ts'
import type { Storage } from '../storage/database.ts'
import type { SessionStore } from '../storage/sessions.ts'
import type { Announcement } from './announcements.ts'

/** What every session of one client shares. */
export interface SessionContext extends DpopSource {
  /** Prefix of lock names, unique to the namespace. */
  name: string
  storage: Storage
  sessions: SessionStore
  fetch: Fetch
  allowHttp: boolean
  clientId: string
  /** A service worker that does not guard refreshes. */
  unguarded?: ServiceWorker
  announce(announcement: Announcement): void
  /** Tells the app's developer something that is not an error of the call at hand. */
  diagnose(event: DiagnosticEvent): void
}
