import type { Storage, StoreName } from './database.ts'

/** The same storage without a disk: for private modes that keep nothing, and for tests. */
export function createMemoryStorage(): Storage {
  const stores = new Map<StoreName, Map<string, unknown>>()
  const open = (name: StoreName) => {
    const store = stores.get(name) ?? new Map<string, unknown>()
    stores.set(name, store)
    return store
  }
  let suspended = false
  return {
    tier: 'memory',
    suspend() {
      suspended = true
    },
    resume() {
      suspended = false
    },
    get suspended() {
      return suspended
    },
    close() {},
    get: async (store, key) => open(store).get(key),
    entries: async (store) => [...open(store)],
    async remove(store, keys) {
      for (const key of keys) open(store).delete(key)
    },
    async update(store, key, change) {
      const current = open(store).get(key)
      const next = change(current)
      if (next === undefined) open(store).delete(key)
      else open(store).set(key, next)
      return current
    },
  }
}
