/** Look-ups for a sign-in are believed this long (atproto OAuth asks for less than ten minutes). */
const TTL_MS = 60_000
const MAX_ENTRIES = 64

/** Remembers what was looked up a moment ago, work in progress included; failures are not remembered. */
export function createCache(now: () => number): <T>(key: string, work: () => Promise<T>) => Promise<T> {
  const entries = new Map<string, { at: number; value: Promise<unknown> }>()
  return <T>(key: string, work: () => Promise<T>) => {
    const known = entries.get(key)
    if (known && Math.abs(now() - known.at) < TTL_MS) return known.value as Promise<T>
    const value = work()
    const entry = { at: now(), value }
    entries.delete(key)
    entries.set(key, entry)
    value.catch(() => entries.get(key) === entry && entries.delete(key))
    for (const oldest of entries.keys()) {
      if (entries.size <= MAX_ENTRIES) break
      entries.delete(oldest)
    }
    return value
  }
}
