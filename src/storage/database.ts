import { type IDBPDatabase, openDB } from 'idb'
import { oauthError } from '../errors.ts'
import { within } from '../time.ts'
import { createMemoryStorage } from './memory.ts'

const VERSION = 1
const STORES = ['sessions', 'authorizations', 'nonces', 'settings'] as const
/** Another tab with an older version may keep the database from opening; it is not waited for longer. */
const OPEN_TIMEOUT_MS = 5_000
/** A write that somebody keeps waiting is not waited for longer, where more depends on it than itself. */
export const ANSWER_TIMEOUT_MS = 10_000
/** Errors that another connection would meet again. */
const FINAL = ['QuotaExceededError', 'TimeoutError', 'DataCloneError']

export type StoreName = (typeof STORES)[number]

/** Where things survive a page load. The two kinds differ in what they survive, not in what they do. */
export interface Storage {
  readonly tier: 'indexeddb' | 'memory'
  get(store: StoreName, key: string): Promise<unknown>
  /** Every value of a store with its key. */
  entries(store: StoreName): Promise<Array<[key: string, value: unknown]>>
  /**
   * Reads a value and writes what `change` makes of it, in one transaction that is on disk when the promise resolves.
   * `change` must be synchronous; what it returns replaces the value, `undefined` deletes it, the same value writes
   * nothing. Resolves to the value from before.
   */
  update(store: StoreName, key: string, change: (current: unknown) => unknown): Promise<unknown>
  /** Deletes many values in one transaction. */
  remove(store: StoreName, keys: readonly string[]): Promise<void>
  /** Holds everything until `resume()`, for a page that leaves and would keep other tabs waiting for it. */
  suspend(): void
  resume(): void
  readonly suspended: boolean
  close(): void
}

/**
 * Opens `name`, or falls back to memory where IndexedDB is missing, broken or blocked.
 *
 * @param onFallback - Told why, when it does.
 */
export async function openStorage(
  name: string,
  kind: 'auto' | 'memory',
  onFallback: (cause: unknown) => void,
): Promise<Storage> {
  if (kind === 'memory') return createMemoryStorage()
  const database = createDatabase(name)
  try {
    await database.get('settings', 'current')
    return database
  } catch (cause) {
    database.close()
    onFallback(cause)
    return createMemoryStorage()
  }
}

function createDatabase(name: string): Storage {
  let connection: Promise<IDBPDatabase> | undefined
  let closed = false
  /** Transactions that cannot end without this page. */
  const unfinished = new Set<Abortable>()
  let resumed: Promise<void> | undefined
  let suspensions = 0
  let resume = () => {}

  function connected(): Promise<IDBPDatabase> {
    connection ??= open(name, () => (connection = undefined))
    return connection
  }

  function close() {
    void connection?.then(
      (db) => db.close(),
      () => {},
    )
    connection = undefined
  }

  /** Connections are lost (bfcache, iOS, a deleted database): one that fails is opened anew, once. */
  async function run<T>(operation: string, work: (db: IDBPDatabase) => Promise<T>): Promise<T> {
    for (let attempts = 2; ; ) {
      const before = suspensions
      try {
        await resumed
        return await work(await connected())
      } catch (cause) {
        if (cause instanceof Error && cause.name === 'OAuthError') throw cause
        close()
        // What was given up because the page left says nothing about the database.
        if (suspensions === before) attempts -= 1
        if (attempts === 0 || !(cause instanceof DOMException) || FINAL.includes(cause.name)) {
          throw oauthError('storage_failed', { operation }, cause)
        }
      } finally {
        // Work that outlives its client leaves nothing open.
        if (closed) close()
      }
    }
  }

  return {
    tier: 'indexeddb',
    close() {
      closed = true
      // Nobody will: what waits ends with its client.
      resumed = undefined
      resume()
      close()
    },
    suspend() {
      suspensions += 1
      resumed ??= new Promise((resolve) => {
        resume = resolve
      })
      for (const transaction of unfinished) abort(transaction)
    },
    resume() {
      resumed = undefined
      resume()
    },
    get suspended() {
      return resumed !== undefined
    },
    get: (store, key) =>
      run('read', async (db) => {
        const transaction = db.transaction(store)
        return finish(transaction, transaction.store.get(key))
      }),
    entries: (store) =>
      run('read', async (db) => {
        const transaction = db.transaction(store)
        const { store: objects } = transaction
        const answers = Promise.all([objects.getAllKeys(), objects.getAll()])
        const [keys, values] = await finish(transaction, answers)
        return keys.map((key, index) => [String(key), values[index]])
      }),
    remove: (store, keys) =>
      run('write', async (db) => {
        const transaction = db.transaction(store, 'readwrite')
        await finish(transaction, Promise.all(keys.map((key) => transaction.store.delete(key))))
      }),
    update: (store, key, change) =>
      run('write', async (db) => {
        const durability = store === 'nonces' || store === 'settings' ? 'relaxed' : 'strict'
        const transaction = db.transaction(store, 'readwrite', { durability })
        // Rejects with what aborted the transaction; awaited below, or superseded by the error that caused it.
        transaction.done.catch(() => {})
        unfinished.add(transaction)
        try {
          const current = await transaction.store.get(key)
          const next = change(current)
          const { store: objects } = transaction
          if (next === undefined) await finish(transaction, objects.delete(key))
          else await finish(transaction, next === current ? undefined : objects.put(next, key))
          return current
        } catch (cause) {
          abort(transaction)
          throw cause
        } finally {
          unfinished.delete(transaction)
        }
      }),
  }
}

type Abortable = Pick<IDBTransaction, 'abort'>

function abort(transaction: Abortable): void {
  try {
    transaction.abort()
  } catch {
    // Already over.
  }
}

/** Commits without waiting for the answer: a page that leaves now holds up nobody. */
async function finish<T>(
  transaction: { commit(): void; readonly done: Promise<void> },
  answer: T | Promise<T>,
): Promise<T> {
  transaction.commit()
  const [value] = await Promise.all([answer, transaction.done])
  return value
}

async function open(name: string, onClosed: () => void): Promise<IDBPDatabase> {
  const opening = connect(name, onClosed)
  const database = await within(opening, OPEN_TIMEOUT_MS)
  if (database) return database
  // One that opens after all must not hold up others.
  opening.then(
    (late) => late.close(),
    () => {},
  )
  throw new DOMException('Opening took too long', 'TimeoutError')
}

async function connect(name: string, onClosed: () => void): Promise<IDBPDatabase> {
  if (typeof indexedDB === 'undefined') throw new DOMException('IndexedDB is missing', 'NotSupportedError')
  try {
    return await openDB(name, VERSION, {
      upgrade(db) {
        for (const store of STORES) if (!db.objectStoreNames.contains(store)) db.createObjectStore(store)
      },
      // A newer version of this package, or somebody deleting the database, must not wait for this tab.
      blocking(_current, _blocked, event) {
        ;(event.target as IDBDatabase).close()
        onClosed()
      },
      terminated: onClosed,
    })
  } catch (error) {
    // A newer version's database is used as it is: it keeps the stores that this one knows.
    if ((error as DOMException).name === 'VersionError') return openDB(name)
    throw error
  }
}
