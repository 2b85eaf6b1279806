import { openDB } from 'idb'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { signInTo } from '../support/client.ts'
import { ALICE, at, BOB, createFakeNetwork, faults } from '../support/network.ts'
import { failureOf } from './failure.ts'
import { DAY, HOUR, PING, record, refreshes, SECOND } from './signed-in.ts'
import { createBrowser, editRow, readAll, readRow, rowKey, signedInBrowser, write } from './tabs.ts'

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
  vi.unstubAllGlobals()
})

const { transaction } = IDBDatabase.prototype
const { put } = IDBObjectStore.prototype
const domError = (name: string) => new DOMException('made up', name)

/** Lets writes to a store fail from the nth on, as long as `fails` says so. */
function failWrites(
  store: string,
  error: DOMException,
  isDoomed: (write: number, value: unknown) => boolean,
) {
  let writes = 0
  return vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(function (
    this: IDBObjectStore,
    value,
    key,
  ) {
    if (this.name === store && isDoomed(++writes, value)) throw error
    return put.call(this, value, key)
  })
}

const holdsKey = (value: unknown): boolean =>
  value !== null &&
  typeof value === 'object' &&
  (value instanceof CryptoKey || Object.values(value).some(holdsKey))

describe('storage that cannot be used', () => {
  test.each<[string, () => void]>([
    ['is missing', () => vi.stubGlobal('indexedDB', undefined)],
    [
      'throws when it is looked at',
      () =>
        vi.stubGlobal('indexedDB', {
          open: () => {
            throw domError('SecurityError')
          },
        }),
    ],
    [
      'cannot be opened',
      () =>
        vi.spyOn(indexedDB, 'open').mockImplementation(() => {
          throw domError('InvalidStateError')
        }),
    ],
    [
      'takes no keys',
      () => {
        failWrites('settings', domError('DataCloneError'), (_, value) => holdsKey(value))
      },
    ],
    [
      'is full',
      () => {
        failWrites('settings', domError('QuotaExceededError'), () => true)
      },
    ],
  ])('%s: a sign-in fails before anything is asked of the server (STO-03, K09)', async (_name, breakIt) => {
    const browser = createBrowser(createFakeNetwork())
    const { network } = browser
    breakIt()
    const client = browser.openClient()
    const error = await failureOf(network, client.authorize(ALICE.handle))
    expect(error.code).toBe('storage_failed')
    expect(network.count(at.par)).toBe(0)
  })

  test('gives keys back as something else: a sign-in fails before anything is asked of the server (STO-03, K09)', async () => {
    const browser = createBrowser(createFakeNetwork())
    const { network } = browser
    vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(function (this: IDBObjectStore, value, key) {
      return put.call(this, JSON.parse(JSON.stringify(value)), key)
    })
    const error = await failureOf(network, browser.openClient().authorize(ALICE.handle))
    expect(error.code).toBe('storage_failed')
    expect(network.count(at.par)).toBe(0)
  })

  test('is reported, and memory is used instead until the page is left (STO-03, K09)', async () => {
    vi.stubGlobal('indexedDB', undefined)
    const client = createBrowser(createFakeNetwork()).openClient()
    const { diagnostics } = record(client)
    expect(await client.initialize()).toBeUndefined()
    expect(client.storageTier).toBe('memory')
    expect(diagnostics).toMatchObject([{ code: 'storage_fallback' }])
  })

  test('leaves no timer running behind its error (STO-03, STO-10)', async () => {
    const browser = createBrowser(createFakeNetwork())
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    vi.spyOn(indexedDB, 'open').mockImplementation(() => {
      throw domError('SecurityError')
    })
    await browser.openClient().initialize()
    expect(vi.getTimerCount()).toBe(0)
  })

  test('is fine for an app that asked for memory (STO-03)', async () => {
    vi.stubGlobal('indexedDB', undefined)
    const browser = createBrowser(createFakeNetwork())
    const client = browser.openClient({ storage: 'memory' })
    const { diagnostics } = record(client)
    const session = await signInTo(browser.network, client, ALICE.handle)
    expect((await session.fetch(PING)).status).toBe(200)
    expect(client.storageTier).toBe('memory')
    expect(diagnostics).toEqual([])
    browser.network.assertClean()
  })

  test('is said before a page leaves that could not be found again, also to an app that asked for memory (STO-03)', async () => {
    const browser = createBrowser(createFakeNetwork())
    const client = browser.openClient({ storage: 'memory' })
    const popup = { close: vi.fn(), closed: false, location: { replace: vi.fn() } }
    vi.stubGlobal('window', { open: () => popup })
    for (const call of [client.signIn, client.signInWithPopup]) {
      const error = await failureOf(browser.network, call(ALICE.handle))
      expect(error).toMatchObject({ code: 'storage_failed' })
    }
    expect(popup.close).toHaveBeenCalledOnce()
    expect(browser.network.log).toEqual([])
  })

  test('is looked at again at the next attempt (STO-03)', async () => {
    const browser = createBrowser(createFakeNetwork())
    const { network } = browser
    const client = browser.openClient()
    failWrites('settings', domError('QuotaExceededError'), (write) => write === 1)
    expect((await failureOf(network, client.authorize(ALICE.handle))).code).toBe('storage_failed')
    const session = await signInTo(network, client, ALICE.handle)
    expect((await session.fetch(PING)).status).toBe(200)
    network.assertClean()
  })
})

describe('a database that', () => {
  test('another page keeps blocked is given up after five seconds, and memory is used (K05, STO-10)', async () => {
    const browser = createBrowser(createFakeNetwork())
    const name = `signet:${browser.namespace}`
    const stubborn = await new Promise<IDBDatabase>((resolve) => {
      const opening = indexedDB.open(name, 1)
      opening.onsuccess = () => resolve(opening.result)
    })
    const deletion = indexedDB.deleteDatabase(name)
    const deleted = new Promise((resolve) => {
      deletion.onsuccess = resolve
    })
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const client = browser.openClient()
    const { diagnostics } = record(client)
    const ready = client.initialize()
    await vi.waitFor(() => expect(vi.getTimerCount()).toBe(1))
    await vi.advanceTimersByTimeAsync(5 * SECOND)
    await vi.waitFor(() => expect(client.storageTier).toBe('memory'))
    expect(await ready).toBeUndefined()
    expect(diagnostics).toMatchObject([{ code: 'storage_fallback' }])
    stubborn.close()
    await deleted
  })

  test('a newer version of the package has upgraded is used as it is, and what is not known in it is kept (K04)', async () => {
    const { network, namespace, client, ...browser } = await signedInBrowser()
    client.close()
    const upgraded = await new Promise<IDBDatabase>((resolve) => {
      const opening = indexedDB.open(`signet:${namespace}`, 7)
      opening.onupgradeneeded = () => opening.result.createObjectStore('of-the-future')
      opening.onsuccess = () => resolve(opening.result)
    })
    const row = { version: 99, anything: { the: 'future' } }
    const writing = upgraded.transaction('sessions', 'readwrite')
    writing.objectStore('sessions').put(row, rowKey('did:web:future.dev'))
    await new Promise((resolve) => {
      writing.oncomplete = resolve
    })
    upgraded.close()

    const next = browser.openClient()
    const { diagnostics } = record(next)
    const session = await next.initialize()
    expect((await session?.fetch(PING))?.status).toBe(200)
    await session?.refresh()
    expect(next.accounts.map(({ did }) => did)).toEqual([ALICE.did])
    expect(Object.fromEntries(await readAll(namespace, 'sessions'))).toMatchObject({
      [rowKey('did:web:future.dev')]: row,
    })
    expect(diagnostics).toEqual([])
    network.assertClean()
  })

  test('a newer version of the package wants to upgrade is let go, and used again afterwards (K04)', async () => {
    const { network, namespace, session } = await signedInBrowser()
    await new Promise<void>((resolve, reject) => {
      const opening = indexedDB.open(`signet:${namespace}`, 2)
      opening.onblocked = () => reject(new Error('the open page blocks the upgrade'))
      opening.onsuccess = () => {
        opening.result.close()
        resolve()
      }
    })
    network.clock.advance(2 * HOUR)
    expect((await session.fetch(PING)).status).toBe(200)
    expect((await readRow(namespace, ALICE.did))?.record.tokens.expiresAt).toBe(session.expiresAt)
    network.assertClean()
  })

  test('was deleted under a live page is written anew (N12, K07)', async () => {
    const { network, namespace, ...browser } = await signedInBrowser()
    await new Promise<void>((resolve, reject) => {
      const deletion = indexedDB.deleteDatabase(`signet:${namespace}`)
      deletion.onblocked = () => reject(new Error('the open page blocks the deletion'))
      deletion.onsuccess = () => resolve()
    })
    expect((await browser.session.fetch(PING)).status).toBe(200)
    network.clock.advance(2 * HOUR)
    expect((await browser.session.fetch(PING)).status).toBe(200)
    expect(refreshes(network)).toBe(1)
    expect((await readRow(namespace, ALICE.did))?.record.tokens.expiresAt).toBe(browser.session.expiresAt)
    const next = browser.openClient()
    await next.initialize()
    expect((await (await next.restore(ALICE.did)).fetch(PING)).status).toBe(200)
    network.assertClean()
  })
})

describe.each(['InvalidStateError', 'AbortError', 'UnknownError'])('a connection lost with %s', (name) => {
  const loseConnection = (times: number) => {
    let left = times
    return vi.spyOn(IDBDatabase.prototype, 'transaction').mockImplementation(function (
      this: IDBDatabase,
      ...call
    ) {
      if (left-- > 0) throw domError(name)
      return transaction.apply(this, call)
    })
  }

  test('is opened again, once, and nobody notices (K07)', async () => {
    const { network, session, client } = await signedInBrowser()
    const open = vi.spyOn(indexedDB, 'open')
    network.clock.advance(2 * HOUR)
    loseConnection(1)
    expect((await session.fetch(PING)).status).toBe(200)
    expect(open).toHaveBeenCalledTimes(1)
    loseConnection(1)
    await client.signOut()
    expect(client.accounts).toEqual([])
    network.assertClean()
  })

  test('twice is an error, no refresh is sent, and the session stays (K07, STO-04)', async () => {
    const { network, session, client } = await signedInBrowser()
    network.clock.advance(2 * HOUR)
    const lost = loseConnection(2)
    expect(await failureOf(network, session.fetch(PING))).toMatchObject({
      code: 'storage_failed',
      retryable: true,
    })
    expect(network.count(at.refresh)).toBe(0)
    lost.mockRestore()
    expect(client.session).toBe(session)
    expect((await session.fetch(PING)).status).toBe(200)
    network.assertClean()
  })
})

describe('tokens that cannot be stored', () => {
  const full = domError('QuotaExceededError')

  test('after a sign-in are revoked, and the sign-in fails (STO-04, K11)', async () => {
    const browser = createBrowser(createFakeNetwork())
    const { network } = browser
    const client = browser.openClient()
    await client.initialize()
    const { url } = await client.authorize(ALICE.handle)
    failWrites('sessions', full, () => true)
    expect((await failureOf(network, client.handleCallback(network.approve(url)))).code).toBe(
      'storage_failed',
    )
    expect(network.sessionAlive(ALICE.did)).toBe(false)
    expect(client).toMatchObject({ session: undefined, accounts: [], status: 'signed-out' })
    network.expect(at.revoke)
    network.assertClean()
  })

  test('are not asked for when not even the mark of a refresh can be (STO-04, K11)', async () => {
    const { network, session } = await signedInBrowser()
    network.clock.advance(2 * HOUR)
    failWrites('sessions', full, () => true)
    expect((await failureOf(network, session.fetch(PING))).code).toBe('storage_failed')
    expect(network.count(at.refresh)).toBe(0)
    vi.restoreAllMocks()
    expect((await session.fetch(PING)).status).toBe(200)
    network.assertClean()
  })

  test.each([
    ['only they are too much', (write: number) => write === 2],
    ['nothing more can be written', (write: number) => write >= 2],
  ])(
    'after a refresh are revoked, and the session ends and stays ended, when %s (STO-04, K11)',
    async (_name, isDoomed) => {
      const { network, client, session, ...browser } = await signedInBrowser()
      network.clock.advance(2 * HOUR)
      failWrites('sessions', full, isDoomed)
      expect(await failureOf(network, session.fetch(PING))).toMatchObject({
        code: 'session_ended',
        reason: 'not_stored',
      })
      const fresh = network.sessions()[0]?.refreshToken
      expect(network.requests(at.revoke).map(({ form }) => form.token)).toContain(fresh)
      expect(network.sessionAlive(ALICE.did)).toBe(false)
      expect(session.status).toBe('revoked')
      const before = network.log.length
      expect((await failureOf(network, session.fetch(PING))).code).toBe('session_ended')
      expect(network.log.length).toBe(before)
      vi.restoreAllMocks()
      const again = await signInTo(network, client, ALICE.handle)
      expect((await again.fetch(PING)).status).toBe(200)
      expect((await (await browser.openTab()).session.fetch(PING)).status).toBe(200)
      network.assertClean()
    },
  )
})

test('sessions, marks and pending sign-ins are written to the disk before they count (K12, REF-02)', async () => {
  const writes: [string, string | undefined][] = []
  vi.spyOn(IDBDatabase.prototype, 'transaction').mockImplementation(function (
    this: IDBDatabase,
    stores,
    mode,
    options,
  ) {
    if (mode === 'readwrite') writes.push([String(stores), options?.durability])
    return transaction.call(this, stores, mode, options)
  })
  const { network, session, client } = await signedInBrowser()
  network.clock.advance(2 * HOUR)
  await session.fetch(PING)
  await client.signOut()
  const important = writes.filter(([store]) => store === 'sessions' || store === 'authorizations')
  expect(important.length).toBeGreaterThan(4)
  for (const [, durability] of important) expect(durability).toBe('strict')
})

test('a write that fails behind a request is nobody’s error (K07)', async () => {
  const { network, session } = await signedInBrowser()
  failWrites('nonces', domError('QuotaExceededError'), () => true)
  expect((await session.fetch(PING)).status).toBe(200)
  network.on(at.resource, faults.status(500))
  expect((await session.fetch(PING)).status).toBe(500)
})

describe('a session that a newer version of the package has stored', () => {
  test('is not refreshed with what this tab knows of it, nor overwritten (K04, L09)', async () => {
    const { network, namespace, session } = await signedInBrowser()
    await editRow(namespace, ALICE.did, (row) => ({ ...row, version: 2 }))
    expect((await failureOf(network, session.refresh())).code).toBe('session_ended')
    expect(network.count(at.refresh)).toBe(0)
    expect((await readRow(namespace, ALICE.did))?.version).toBe(2)
  })

  test('gives way to a new sign-in, as after an app was set back (K04)', async () => {
    const { network, namespace, client } = await signedInBrowser()
    await editRow(namespace, ALICE.did, (row) => ({ ...row, version: 2 }))
    const session = await signInTo(network, client, ALICE.handle)
    expect((await session.fetch(PING)).status).toBe(200)
    expect((await readRow(namespace, ALICE.did))?.version).toBe(1)
  })
})

describe('storage that failed once', () => {
  const broken = () => {
    throw new DOMException('Lost', 'UnknownError')
  }

  test('while a page started is read again when the app asks again (K07)', async () => {
    const { network, openClient } = await signedInBrowser()
    const client = openClient()
    const spy = vi.spyOn(IDBObjectStore.prototype, 'getAllKeys').mockImplementation(broken)
    expect((await failureOf(network, client.initialize())).retryable).toBe(true)
    spy.mockRestore()
    expect((await client.initialize())?.did).toBe(ALICE.did)
  })

  test('before a callback took its request does not use the callback up (K07)', async () => {
    const browser = createBrowser(createFakeNetwork())
    const client = browser.openClient()
    const { url } = await client.authorize(ALICE.handle)
    const callback = browser.network.approve(url)
    const spy = vi.spyOn(IDBObjectStore.prototype, 'get').mockImplementation(broken)
    expect((await failureOf(browser.network, client.handleCallback(callback))).code).toBe('storage_failed')
    spy.mockRestore()
    expect((await client.handleCallback(callback)).did).toBe(ALICE.did)
  })
})

describe('a write of new tokens', () => {
  /** Calls back with every read-write transaction of sessions, counted from 1. */
  function onWrite(act: (count: number, begin: () => IDBTransaction) => IDBTransaction): void {
    let count = 0
    vi.spyOn(IDBDatabase.prototype, 'transaction').mockImplementation(function (this: IDBDatabase, ...call) {
      const begin = () => transaction.apply(this, call)
      return String(call[0]) === 'sessions' && call[1] === 'readwrite' ? act(++count, begin) : begin()
    })
  }

  /** Is committed, but its connection is lost before anybody hears of it. */
  function loseAnswer(written: IDBTransaction): void {
    const listen = written.addEventListener.bind(written)
    const onAbort: EventListener[] = []
    written.addEventListener = (type: string, listener: EventListenerOrEventListenerObject) => {
      if (type === 'abort') onAbort.push(listener as EventListener)
      const fail = (event: Event) => {
        for (const tell of onAbort) tell(event)
      }
      listen(type, type === 'complete' ? fail : listener)
    }
  }

  test.each([
    ['the mark before it', 1],
    ['it', 2],
  ])('stands when %s was committed and is reported as lost (K07, REF-02)', async (_which, lost) => {
    const { network, session } = await signedInBrowser()
    network.clock.advance(2 * HOUR)
    onWrite((count, begin) => {
      const written = begin()
      if (count === lost) loseAnswer(written)
      return written
    })
    const before = performance.now()
    expect((await session.fetch(PING)).status).toBe(200)
    // Its own mark is not another tab's, for which it would wait ten seconds.
    expect(performance.now() - before).toBeLessThan(9_000)
    expect(network.sessionAlive(ALICE.did)).toBe(true)
    expect(session.status).toBe('active')
  })

  test('is repeated when the page goes to sleep after a connection was lost (K07, L03)', async () => {
    const page = new EventTarget()
    vi.stubGlobal('addEventListener', page.addEventListener.bind(page))
    vi.stubGlobal('removeEventListener', page.removeEventListener.bind(page))
    const { network, session } = await signedInBrowser()
    network.clock.advance(2 * HOUR)
    onWrite((count, begin) => {
      if (count === 2) throw new DOMException('Lost', 'InvalidStateError')
      const written = begin()
      if (count === 3) {
        queueMicrotask(() => {
          page.dispatchEvent(new Event('pagehide'))
          setTimeout(() => page.dispatchEvent(new Event('pageshow')))
        })
      }
      return written
    })
    expect((await session.fetch(PING)).status).toBe(200)
    expect(network.sessionAlive(ALICE.did)).toBe(true)
  })

  test('is waited for ten seconds where another page holds the database, and the call fails (STO-10)', async () => {
    const { network, namespace, session } = await signedInBrowser()
    const db = await openDB(`signet:${namespace}`)
    const { store, done } = db.transaction('sessions', 'readwrite')
    let held = true
    const hold = async (): Promise<void> => {
      while (held) await store.get('x')
    }
    const holding = hold()
    network.clock.advance(2 * HOUR)
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const timers = vi.spyOn(globalThis, 'setTimeout')
    const failure = failureOf(network, session.fetch(PING))
    await vi.waitFor(() => expect(timers).toHaveBeenCalledWith(expect.anything(), 10 * SECOND))
    await vi.advanceTimersByTimeAsync(10 * SECOND)
    expect((await failure).code).toBe('storage_failed')
    vi.useRealTimers()
    held = false
    await holding
    await done
    db.close()
  })
})

describe('what is left of an account that was signed out', () => {
  test('and cannot be swept away keeps nobody else from their session (K11)', async () => {
    const { network, client, openClient } = await signedInBrowser()
    await signInTo(network, client, BOB.handle)
    await client.signOut(ALICE.did)
    network.clock.advance(16 * DAY)
    vi.spyOn(IDBObjectStore.prototype, 'delete').mockImplementation(() => {
      throw new DOMException('Full', 'QuotaExceededError')
    })
    expect((await openClient().initialize())?.did).toBe(BOB.did)
  })

  test('is not swept away with what a new sign-in has just stored (L06)', async () => {
    const { network, namespace, openClient } = await signedInBrowser()
    const row = await readRow(namespace, ALICE.did)
    await write(namespace, 'sessions', rowKey(ALICE.did), {
      version: 1,
      signedOutAt: network.clock.now() - 16 * DAY,
    })
    const { getAll } = IDBObjectStore.prototype
    const stored = new Promise<void>((resolve) => {
      vi.spyOn(IDBObjectStore.prototype, 'getAll').mockImplementation(function (
        this: IDBObjectStore,
        ...call
      ) {
        if (this.name === 'sessions') {
          vi.restoreAllMocks()
          this.transaction.addEventListener('complete', () => {
            const writing = this.transaction.db.transaction('sessions', 'readwrite')
            writing.objectStore('sessions').put(row, rowKey(ALICE.did))
            writing.oncomplete = () => resolve()
          })
        }
        return getAll.apply(this, call)
      })
    })
    await openClient().initialize()
    await stored
    expect((await readRow(namespace, ALICE.did))?.record).toBeDefined()
  })
})
