import { type Fetch, fetchBounded } from '../http.ts'

const MIN_OFFSET_MS = 5_000
const MAX_OFFSET_MS = 24 * 3_600_000
/** One look at the clock serves all requests refused for their time in this span, unless the device's clock jumps. */
const REMEASURE_MS = 10_000

/** The servers' clock, as far as it is known from this device. */
export interface Clock {
  /** Whole seconds since the epoch, corrected: `iat`. */
  seconds(): number
  /** How far the servers' clock is ahead of this device's, as far as is known. */
  offsetMs(): number
  /**
   * Reads the `Date` of the app's own server, since CORS hides that header of any other, and corrects the clock by it.
   * Never rejects.
   */
  correct(): Promise<void>
}

/** @param page - URL of something the app's server has served, without query: `/` may lead elsewhere. */
export function createClock(fetch: Fetch, now: () => number, page: string): Clock {
  let offsetMs = 0
  let measuring: Promise<void> | undefined
  let measuredAt = 0
  let driftMs = 0

  const measure = async () => {
    // The query keeps an app's service worker from answering out of its cache.
    const url = `${page}?time=${performance.now()}`
    const { headers } = await fetchBounded(fetch, url, { method: 'HEAD', timeoutMs: 5_000, maxBytes: 1024 })
    const measured = Date.parse(headers.get('date') ?? '') - now()
    const size = Math.abs(measured)
    const next = size > MIN_OFFSET_MS && size < MAX_OFFSET_MS ? measured : 0
    if (size >= 0 && Math.abs(next - offsetMs) > MIN_OFFSET_MS) offsetMs = next
  }

  return {
    seconds: () => Math.floor((now() + offsetMs) / 1000),
    offsetMs: () => offsetMs,
    correct() {
      const uptimeMs = performance.now()
      const jumpedMs = Math.abs(now() - uptimeMs - driftMs)
      if (!measuring || uptimeMs - measuredAt > REMEASURE_MS || jumpedMs > MIN_OFFSET_MS) {
        measuredAt = uptimeMs
        driftMs = now() - uptimeMs
        measuring = measure().catch(() => {})
      }
      return measuring
    },
  }
}
