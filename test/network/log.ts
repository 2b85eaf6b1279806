export type Party = 'plc' | 'pds1' | 'pds2'

/** Which requests are meant. Plain data, because it has to reach the process the network runs in. */
export interface Match {
  party?: Party
  method?: string
  /** The whole path, or its beginning followed by `*`. */
  path?: string
  /** `grant_type` of a token request. */
  grantType?: string
  /** `Origin` header: tells the app's requests from those of the PDS's own pages. */
  from?: string
  /** Default `false`, so that what is meant for a request does not hit its preflight. */
  preflight?: boolean | 'any'
}

/** One request, as the server saw it. Holds no token, code or proof. */
export interface LogEntry {
  id: number
  party: Party
  /** Origin of the server that was asked. */
  origin: string
  method: string
  path: string
  /** Names of the query parameters. */
  query: string[]
  preflight: boolean
  from?: string
  /** Whether a `DPoP` header was sent. */
  dpop: boolean
  grantType?: string
  /** First 16 hex digits of the SHA-256 of the refresh token that was sent. */
  refreshTokenHash?: string
  /** Milliseconds since the epoch, with fractions: arrival of the request, departure of the answer. */
  start: number
  end?: number
  status?: number
  /** `abandoned`: the client was gone before the answer. Missing while the request is open. */
  outcome?: 'answered' | 'dropped' | 'abandoned'
}

export interface WaitOptions {
  /** Default 1. */
  count?: number
  /** `start`: has arrived. `end` (default): has been answered, dropped or abandoned. */
  phase?: 'start' | 'end'
  /** Milliseconds; default 10 000. */
  timeout?: number
}

export function matches(entry: LogEntry, match: Match): boolean {
  const { party, method, path, grantType, from, preflight = false } = match
  if (preflight !== 'any' && preflight !== entry.preflight) return false
  if (path?.endsWith('*')) {
    if (!entry.path.startsWith(path.slice(0, -1))) return false
  } else if (path !== undefined && path !== entry.path) return false
  return (
    (party === undefined || party === entry.party) &&
    (method === undefined || method === entry.method) &&
    (grantType === undefined || grantType === entry.grantType) &&
    (from === undefined || from === entry.from)
  )
}

/**
 * How many round trips one after the other these requests took: the length of the longest chain in which each request
 * began after the one before it had ended. Requests that overlap share a round; an open request has not ended.
 *
 * Two requests sent together overlap only if an answer takes longer than the client's jitter: set a latency first.
 */
export function countRounds(entries: readonly LogEntry[]): number {
  const end = (entry: LogEntry) => entry.end ?? Number.POSITIVE_INFINITY
  const byStart = entries.toSorted((a, b) => a.start - b.start)
  const byEnd = entries.toSorted((a, b) => end(a) - end(b))
  const depths = new Map<LogEntry, number>()
  let ended = 0
  let next = 0
  let longest = 0
  for (const entry of byStart) {
    for (let other = byEnd[next]; other && end(other) < entry.start; other = byEnd[++next]) {
      ended = Math.max(ended, depths.get(other) ?? 0)
    }
    depths.set(entry, ended + 1)
    longest = Math.max(longest, ended + 1)
  }
  return longest
}
