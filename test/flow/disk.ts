import { IDBFactory } from 'fake-indexeddb'
import 'fake-indexeddb/auto'
import { beforeEach } from 'vitest'

/** What a client with the default namespace has stored, by key. */
export interface Disk {
  read(store: 'sessions' | 'authorizations' | 'nonces' | 'settings'): Promise<Map<string, unknown>>
}

/**
 * Gives every test of the file an IndexedDB of its own: clients made with `storage: 'auto'` are tabs of
 * one browser, and one that is made later is a page that was loaded later.
 */
export function useDisk(): Disk {
  beforeEach(() => {
    globalThis.indexedDB = new IDBFactory()
  })
  return {
    async read(store) {
      const database = await settled(indexedDB.open('signet:default'))
      const objects = database.transaction(store).objectStore(store)
      const [keys, values] = await Promise.all([settled(objects.getAllKeys()), settled(objects.getAll())])
      database.close()
      return new Map(keys.map((key, index) => [String(key), values[index]]))
    },
  }
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}
