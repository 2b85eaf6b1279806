import { type Fetch, fetchBounded } from '../http.ts'

const MIN_OFFSET_MS = 5_000
const MAX_OFFSET_MS = 24 * 3_600_000
/** One look at the clock serves all requests refused for their time in this span. */
const REMEASURE_MS = 10_000

/** The servers' clock, as far as it is known from this device. */
export interface Clock {
  /** Whole seconds since the epoch, corrected: `iat`. */
  seconds(): number
  /**
   * Reads the `Date` of the app's own origin, since CORS hides that header of any other, and corrects the clock by it.
   * Resolves to whether the correction changed, so that a request refused for its time is worth repeating.
   */
  correct(): Promise<boolean>
}

export function createClock(fetch: Fetch, now: () => number, appOrigin: string): Clock {
  let offsetMs = 0
  let measuring: Promise<boolean> | undefined
  let measuredAt = Number.NEGATIVE_INFINITY

  const measure = async () => {
    try {
      // The query keeps an app's service worker from answering out of its cache.
      const url = `${appOrigin}/?time=${performance.now()}`
      const { headers } = await fetchBounded(fetch, url, { method: 'HEAD', timeoutMs: 5_000, maxBytes: 1024 })
      const server = Date.parse(headers.get('date') ?? '')
      const measured = server - now()
      const size = Math.abs(measured)
      const next = size > MIN_OFFSET_MS && size < MAX_OFFSET_MS ? measured : 0
      if (Number.isNaN(server) || Math.abs(next - offsetMs) < MIN_OFFSET_MS) return false
      offsetMs = next
      return true
    } catch {
      return false
    }
  }

  return {
    seconds: () => Math.floor((now() + offsetMs) / 1000),
    correct() {
      if (!measuring || performance.now() - measuredAt > REMEASURE_MS) {
        measuredAt = performance.now()
        measuring = measure()
      }
      return measuring
    },
  }
}
