import type { Clock } from '../dpop/clock.ts'
import type { Fetch } from '../http.ts'
import type { Storage } from '../storage/database.ts'
import type { Announcement } from './announcements.ts'

/** What every session of one client shares. */
export interface SessionContext {
  /** Prefix of lock and channel names, unique to the namespace. */
  name: string
  storage: Storage
  clock: Clock
  fetch: Fetch
  now: () => number
  allowHttp: boolean
  announce(announcement: Announcement): void
}
