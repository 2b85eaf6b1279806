import { openDB } from 'idb'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { signInTo } from '../support/client.ts'
import { ALICE, APP, at, BOB, CLIENT_METADATA, createFakeNetwork, faults } from '../support/network.ts'
import { failureOf } from './failure.ts'
import { openPage } from './page.ts'
import { DAY, HOUR, MINUTE, PING, record, SECOND, warm } from './signed-in.ts'
import { createBrowser, editRow, readAll, readRow, rowKey, signedInBrowser, write } from './tabs.ts'

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
  vi.unstubAllGlobals()
})
const pause = (ms = 300) => new Promise((resolve) => setTimeout(resolve, ms))
const later = (ms: number) => pause(ms).then(() => 'hangs')
const full = () => {
  throw new DOMException('Full', 'QuotaExceededError')
}
const broken = () => {
  throw new DOMException('Lost', 'UnknownError')
}
const { client_uri: _, ...rest } = CLIENT_METADATA
const clientMetadata = { ...rest, client_id: `${APP}/other-metadata.json` }
const dids = (client: { accounts: readonly { did: string }[] }) => client.accounts.map(({ did }) => did)

describe('a session that was signed out, and whose account is signed in anew', () => {
  test('leaves the new one alone when its refresh fails late', async () => {
    const { network, client, session, namespace } = await signedInBrowser()
    let wake = () => {}
    const held = new Promise<void>((resolve) => {
      wake = resolve
    })
    const asleep = navigator.locks.request(`signet:${namespace}:${ALICE.did}`, () => held)
    network.clock.advance(2 * HOUR)
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const request = failureOf(network, session.fetch(PING))
    await vi.waitFor(() => expect(vi.getTimerCount()).toBeGreaterThan(0))
    await client.signOut()
    const again = await signInTo(network, client, ALICE.handle)
    await vi.advanceTimersByTimeAsync(21 * SECOND)
    await request
    vi.useRealTimers()
    wake()
    await asleep
    expect(client).toMatchObject({ status: 'signed-in', session: again })
    expect(dids(client)).toEqual([ALICE.did])
  })

  test('stays over when its refresh ends, and after the next sign-out', async () => {
    const { network, client, session } = await signedInBrowser()
    network.clock.advance(2 * HOUR)
    const held = faults.hold({ after: true })
    network.on(at.refresh, held.handler)
    const call = session.fetch(PING).catch(() => {})
    await held.reached
    await client.signOut()
    await signInTo(network, client, ALICE.handle)
    held.release()
    await call
    await client.signOut()
    const before = network.log.length
    expect((await failureOf(network, session.fetch(PING))).code).toBe('session_ended')
    expect(network.log.length).toBe(before)
  })

  test('repeats no request of before the sign-out with the token of after', async () => {
    const { network, client, session } = await warm()
    const held = faults.hold()
    const refusal = faults.status(401, { error: 'invalid_token' })
    const fault = network.on(at.resource, (request, next) =>
      held.handler(request, async () => refusal(request, next)),
    )
    const call = session.fetch(PING).then(
      ({ status }) => status,
      ({ code }) => code,
    )
    await held.reached
    await client.signOut()
    await signInTo(network, client, ALICE.handle)
    fault.off()
    const before = network.count(at.resource)
    held.release()
    await call
    expect(network.count(at.resource)).toBe(before)
    expect(session.status).toBe('revoked')
  })
})

describe('a callback page', () => {
  const arrive = async () => {
    const browser = createBrowser(createFakeNetwork())
    const { url } = await browser.openClient().authorize(ALICE.handle)
    openPage(browser.network.approve(url))
    return browser.openClient()
  }

  test.each([
    ['handleCallback', 'handleCallback'],
    ['initialize', 'handleCallback'],
    ['handleCallback', 'initialize'],
  ] as const)('%s() and %s() give one session', async (one, two) => {
    const client = await arrive()
    const both = await Promise.all([client[one](), client[two]()])
    expect(both.map((session) => session?.did)).toEqual([ALICE.did, ALICE.did])
  })

  test('whose storage fails at first still has its sign-in', async () => {
    const client = await arrive()
    const spy = vi.spyOn(IDBObjectStore.prototype, 'getAllKeys').mockImplementation(broken)
    await expect(client.initialize()).rejects.toMatchObject({ code: 'storage_failed', retryable: true })
    spy.mockRestore()
    expect((await client.initialize())?.did).toBe(ALICE.did)
  })
})

describe('two apps of one origin and one namespace', () => {
  test('signing out of one leaves the session of the other', async () => {
    const one = await signedInBrowser()
    const { network } = one
    const other = one.openClient({ clientMetadata })
    const session = await signInTo(network, other, ALICE.handle)
    await one.client.signOut()
    await pause()
    expect((await session.fetch(PING)).status).toBe(200)
    expect(dids(other)).toEqual([ALICE.did])
  })

  test('signing out of both leaves nothing', async () => {
    const one = await signedInBrowser()
    const { network } = one
    const other = one.openClient({ clientMetadata })
    await signInTo(network, other, ALICE.handle)
    await one.client.signOut()
    await signInTo(network, other, ALICE.handle)
    await other.signOut(ALICE.did)
    const next = one.openClient({ clientMetadata })
    await next.initialize()
    expect(dids(next)).toEqual([])
    expect(network.sessions().filter(({ alive }) => alive)).toEqual([])
  })

  test('each starts with its own account', async () => {
    const one = await signedInBrowser()
    await signInTo(one.network, one.openClient({ clientMetadata }), BOB.handle)
    expect((await one.openClient().initialize())?.did).toBe(ALICE.did)
  })

  test('that sign in at once keep a session each', async () => {
    const { network, namespace, openClient } = createBrowser(createFakeNetwork())
    const [one, two] = [openClient(), openClient({ clientMetadata })]
    const urls = [(await one.authorize(ALICE.handle)).url, (await two.authorize(ALICE.handle)).url] as const
    const held = faults.hold({ after: true })
    network.on({ ...at.exchange, where: ({ proof }) => proof?.payload.nonce !== undefined }, held.handler)
    const both = [one.handleCallback(network.approve(urls[0])), two.handleCallback(network.approve(urls[1]))]
    await held.reached
    await pause(100)
    held.release()
    await Promise.all(both)
    expect(await readAll(namespace, 'sessions')).toHaveLength(2)
  })
})

describe('a stored session', () => {
  test.each<[string, (record: Record<string, unknown>) => void]>([
    [
      'has no public key',
      (record) => {
        record.dpopKey = { privateKey: (record.dpopKey as { privateKey: CryptoKey }).privateKey }
      },
    ],
    [
      'has a mark without a time',
      (record) => {
        record.refreshAttempt = { at: 'x' }
      },
    ],
    [
      'has a text as mark',
      (record) => {
        record.refreshAttempt = 'x'
      },
    ],
  ])('that %s does not break the app', { timeout: 15_000 }, async (_name, change) => {
    const { network, namespace, client, openClient } = await signedInBrowser()
    client.close()
    await editRow(namespace, ALICE.did, ({ record }) => change(record))
    const next = openClient()
    const session = await next.initialize()
    network.clock.advance(2 * HOUR)
    const outcome = await Promise.race([
      session?.fetch(PING).then(({ status }) => status),
      pause(12_000).then(() => 'hangs'),
    ])
    expect(outcome).not.toBe('hangs')
  })
})

describe('switchAccount()', () => {
  test('to an account that is being signed out keeps the one in use', async () => {
    const { network, client, namespace } = await signedInBrowser()
    await signInTo(network, client, BOB.handle)
    await client.switchAccount(ALICE.did)
    const switching = client.switchAccount(BOB.did)
    const signingOut = client.signOut(BOB.did)
    expect((await failureOf(network, switching)).code).toBe('session_not_found')
    await signingOut
    expect(client).toMatchObject({ status: 'signed-in', session: { did: ALICE.did } })
    expect(Object.values(Object.fromEntries(await readAll(namespace, 'settings')))).toEqual([ALICE.did])
  })

  test('to an account that another tab is signing out keeps the one in use', async () => {
    const { network, client, openTab } = await signedInBrowser()
    await signInTo(network, client, BOB.handle)
    await client.switchAccount(ALICE.did)
    const other = await openTab()
    const signingOut = other.client.signOut(BOB.did)
    const switching = client.switchAccount(BOB.did)
    expect((await failureOf(network, switching)).code).toBe('session_not_found')
    await signingOut
    expect(client.session?.did).toBe(ALICE.did)
  })

  test('works where storage is full', async () => {
    const { network, client } = await signedInBrowser()
    await signInTo(network, client, BOB.handle)
    vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(full)
    expect(await client.switchAccount(ALICE.did)).toBe(client.session)
    expect(client.session?.did).toBe(ALICE.did)
  })
})

describe('signOut() without a DID', () => {
  test('before initialize() signs out whom the page would start with', async () => {
    const { network, openClient } = await signedInBrowser()
    await openClient().signOut()
    expect(network.sessionAlive(ALICE.did)).toBe(false)
  })

  test('as the handler of a click signs out the account in use', async () => {
    const { network, client } = await signedInBrowser()
    const handler = client.signOut as (event: unknown) => Promise<void>
    await handler(new Event('click'))
    expect(client.session).toBeUndefined()
    expect(network.sessionAlive(ALICE.did)).toBe(false)
  })

  test('during initialize() does too', async () => {
    const { network, openClient } = await signedInBrowser()
    const next = openClient()
    const starting = next.initialize()
    await next.signOut()
    await starting
    expect(next.session).toBeUndefined()
    expect(network.sessionAlive(ALICE.did)).toBe(false)
  })
})

describe('a client that is closed in the middle', () => {
  test('of a sign-out still tells the other tabs', async () => {
    const { client, openTab } = await signedInBrowser()
    const other = await openTab()
    const signingOut = client.signOut()
    client.close()
    await signingOut
    await vi.waitFor(() => expect(dids(other.client)).toEqual([]))
  })

  test('of a callback still tells the client that takes its place', async () => {
    const { network, openClient } = createBrowser(createFakeNetwork())
    const { url } = await openClient().authorize(ALICE.handle)
    openPage(network.approve(url))
    const first = openClient()
    const session = first.initialize()
    first.close()
    const second = openClient()
    await second.initialize()
    expect((await session)?.did).toBe(ALICE.did)
    await vi.waitFor(() => expect(dids(second)).toEqual([ALICE.did]))
  })
})

describe('initialize()', () => {
  test('while a sign-in ends leaves the new session in use', async () => {
    const { network, openClient } = createBrowser(createFakeNetwork())
    const client = openClient()
    const { url } = await client.authorize(ALICE.handle)
    let starting: Promise<unknown> | undefined
    client.on('progress', ({ step, phase }) => {
      if (step === 'store_session' && phase === 'end') starting = client.initialize()
    })
    const session = await client.handleCallback(network.approve(url))
    await starting
    expect(client).toMatchObject({ status: 'signed-in', session })
  })

  test('does not switch to what another tab uses', async () => {
    const { network, openClient } = createBrowser(createFakeNetwork())
    const client = openClient()
    const session = await signInTo(network, client, ALICE.handle)
    await signInTo(network, openClient(), BOB.handle)
    await client.initialize()
    expect(client.session).toBe(session)
  })
})

describe('signing out', () => {
  test('of a session that another tab has signed in anew is signed with its key', async () => {
    vi.stubGlobal('BroadcastChannel', undefined)
    const { network, client, openTab } = await signedInBrowser()
    const other = await openTab()
    await signInTo(network, other.client, ALICE.handle)
    await vi.waitFor(() => expect(network.sessions()[0]?.alive).toBe(false))
    await client.signOut()
    expect(network.sessions().map(({ alive }) => alive)).toEqual([false, false])
  })

  test('without room for a mark is not undone by another tab', async () => {
    const { network, client, namespace, openTab } = await signedInBrowser()
    const other = await openTab()
    vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementationOnce(full)
    await client.signOut()
    await pause()
    expect(dids(other.client)).toEqual([])
    await failureOf(network, other.session.refresh())
    expect((await readRow(namespace, ALICE.did))?.record).toBeUndefined()
  })

  test('without room at all is not undone by a request that was under way', async () => {
    const { network, client, session } = await signedInBrowser()
    network.clock.advance(HOUR + SECOND)
    await session.refresh()
    const held = faults.hold({ after: true })
    network.on(at.resource, held.handler)
    const call = session.fetch(PING).catch(() => {})
    await held.reached
    const put = vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(full)
    await client.signOut()
    put.mockRestore()
    held.release()
    await call
    await pause()
    expect(dids(client)).toEqual([])
  })

  test('is over in this tab and at the server when the database is held', async () => {
    const { network, client, session, namespace } = await signedInBrowser()
    const db = await openDB(`signet:${namespace}`)
    const { store } = db.transaction('sessions', 'readwrite')
    let held = true
    const holding = (async () => {
      while (held) await store.get('x')
    })()
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const outcome = failureOf(network, client.signOut())
    await vi.waitFor(() => expect(vi.getTimerCount()).toBeGreaterThan(0))
    await vi.advanceTimersByTimeAsync(11 * SECOND)
    vi.useRealTimers()
    await vi.waitFor(() => expect(network.sessionAlive(ALICE.did)).toBe(false))
    expect(session.status).toBe('revoked')
    expect((await outcome).code).toBe('storage_failed')
    held = false
    await holding
    db.close()
  })
})

describe('an account', () => {
  test('that is signed in anew is not ended by an old refusal where storage cannot be read', async () => {
    const { network, client, session } = await signedInBrowser()
    network.clock.advance(2 * HOUR)
    const held = faults.hold()
    const refusal = faults.oauthError('invalid_grant')
    network.on(at.refresh, (request, next) => held.handler(request, async () => refusal(request, next)))
    const call = session.fetch(PING).catch(() => {})
    await held.reached
    await signInTo(network, client, ALICE.handle)
    const spy = vi.spyOn(IDBObjectStore.prototype, 'get').mockImplementation(broken)
    held.release()
    await call
    await vi.waitFor(() => expect(session.status).not.toBe('refreshing'))
    spy.mockRestore()
    expect(session.status).toBe('active')
  })

  test('that is signed out while the page wakes up is not shown again', async () => {
    const page = new EventTarget()
    vi.stubGlobal('addEventListener', page.addEventListener.bind(page))
    vi.stubGlobal('removeEventListener', page.removeEventListener.bind(page))
    const { client, namespace } = await signedInBrowser()
    const { sessions } = record(client)
    for (let row = 0; row < 20; row++) await write(namespace, 'sessions', rowKey(`did:plc:${row}`), 'junk')
    const { delete: remove } = IDBObjectStore.prototype
    let signingOut: Promise<void> | undefined
    vi.spyOn(IDBObjectStore.prototype, 'delete').mockImplementation(function (this: IDBObjectStore, key) {
      signingOut ??= client.signOut(ALICE.did)
      return remove.call(this, key)
    })
    page.dispatchEvent(Object.assign(new Event('pageshow'), { persisted: true }))
    await vi.waitFor(() => expect(signingOut).toBeDefined())
    await signingOut
    await pause()
    expect(sessions.map(({ status }) => status)).toEqual(['signed_out'])
  })

  test('has the end of its next session reported as well', async () => {
    const { network, client, session } = await signedInBrowser()
    const { diagnostics } = record(client)
    network.clock.advance(13 * DAY + HOUR)
    await session.fetch(PING)
    await signInTo(network, client, ALICE.handle)
    network.clock.advance(13 * DAY + HOUR)
    await session.fetch(PING)
    expect(diagnostics.filter(({ code }) => code === 'session_ending')).toHaveLength(2)
  })

  test('of a page without an origin can be refreshed', async () => {
    const { network, session } = await warm()
    network.clock.advance(2 * HOUR)
    vi.stubGlobal('navigator', {
      onLine: true,
      get serviceWorker() {
        throw new DOMException('The context is sandboxed', 'SecurityError')
      },
    })
    expect((await session.fetch(PING)).status).toBe(200)
  })
})

function connections(): Set<IDBDatabase> {
  const open = new Set<IDBDatabase>()
  const { transaction, close } = IDBDatabase.prototype
  vi.spyOn(IDBDatabase.prototype, 'transaction').mockImplementation(function (this: IDBDatabase, ...call) {
    open.add(this)
    return transaction.apply(this, call)
  })
  vi.spyOn(IDBDatabase.prototype, 'close').mockImplementation(function (this: IDBDatabase) {
    open.delete(this)
    close.call(this)
  })
  return open
}

test('no connection is left when a refresh ends after close()', async () => {
  const { network, client, session } = await signedInBrowser()
  const open = connections()
  network.clock.advance(2 * HOUR)
  const held = faults.hold({ after: true })
  network.on(at.refresh, held.handler)
  const call = session.fetch(PING)
  await held.reached
  client.close()
  held.release()
  await call
  await pause()
  expect(open.size).toBe(0)
})

test('no connection is left by a client closed before it has opened', async () => {
  const { openClient } = await signedInBrowser()
  const open = connections()
  const next = openClient()
  const starting = next.initialize()
  next.close()
  await starting
  await pause()
  expect(open.size).toBe(0)
})

test('a popup sign-in ends when its client is closed', async () => {
  const { openClient } = createBrowser(createFakeNetwork())
  const { promise: shown, resolve: replace } = Promise.withResolvers<string>()
  vi.stubGlobal('window', { open: () => ({ close() {}, location: { replace } }) })
  const client = openClient()
  const call = client.signInWithPopup(ALICE.handle).catch(() => {})
  await shown
  client.close()
  expect(await Promise.race([call, later(2_000)])).not.toBe('hangs')
})

test('an abort is said to be one where storage fails', async () => {
  const { openClient } = createBrowser(createFakeNetwork())
  const { promise: shown, resolve: replace } = Promise.withResolvers<string>()
  vi.stubGlobal('window', { open: () => ({ close() {}, location: { replace } }) })
  const stop = new AbortController()
  const call = openClient()
    .signInWithPopup(ALICE.handle, { signal: stop.signal })
    .catch(({ name }) => name)
  await shown
  vi.spyOn(IDBObjectStore.prototype, 'get').mockImplementation(() => {
    throw new DOMException('Lost', 'UnknownError')
  })
  stop.abort()
  expect(await call).toBe('AbortError')
})

test('no new token is called refused where none could be had', async () => {
  const { network, client, session } = await warm()
  const { diagnostics } = record(client)
  network.clock.advance(31 * SECOND)
  network.on(at.resource, faults.status(401, { error: 'invalid_token' }))
  network.on(at.refresh, faults.unreachable())
  expect((await session.fetch(PING)).status).toBe(401)
  expect(diagnostics).toEqual([])
})

test('signing out without room at all is not undone by a refresh that was under way (L06, K11)', async () => {
  const { network, client, session, openClient } = await signedInBrowser()
  network.clock.advance(2 * HOUR)
  const held = faults.hold({ after: true })
  network.on({ ...at.refresh, where: ({ proof }) => proof?.payload.nonce !== undefined }, held.handler)
  const request = session.fetch(PING).catch(() => {})
  await held.reached
  const put = vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(full)
  await client.signOut()
  put.mockRestore()
  held.release()
  await request
  const next = openClient()
  await next.initialize()
  expect(next.accounts).toEqual([])
  expect(client.accounts).toEqual([])
  expect(network.sessionAlive(ALICE.did)).toBe(false)
})

test('a request of one tab that was on its way when another signed its account out leaves no trace of it (STO-02)', async () => {
  const { network, namespace, client, openTab } = await signedInBrowser()
  const other = await openTab()
  await other.session.fetch(PING)
  network.clock.advance(MINUTE)
  const held = faults.hold({ after: true })
  network.on(at.resource, held.handler, { times: 1 })
  const request = other.session.fetch(PING)
  await held.reached
  other.client.close()
  await client.signOut()
  held.release()
  await request
  await vi.waitFor(async () => expect(await readAll(namespace, 'nonces')).toEqual([]))
})

test('accounts are listed in the order of their sign-in in every tab, also one that was signed in again (STO-14)', async () => {
  const { network, client, openTab, openClient } = await signedInBrowser()
  const other = await openTab()
  network.clock.advance(MINUTE)
  await signInTo(network, client, BOB.handle)
  network.clock.advance(MINUTE)
  await signInTo(network, client, ALICE.handle)
  const next = openClient()
  await next.initialize()
  expect(dids(next)).toEqual([BOB.did, ALICE.did])
  expect(dids(client)).toEqual([BOB.did, ALICE.did])
  await vi.waitFor(() => expect(dids(other.client)).toEqual([BOB.did, ALICE.did]))
})

test('a client that is closed on a page that leaves keeps no call waiting for ever', async () => {
  const page = new EventTarget()
  vi.stubGlobal('addEventListener', page.addEventListener.bind(page))
  vi.stubGlobal('removeEventListener', page.removeEventListener.bind(page))
  const { client } = await signedInBrowser()
  page.dispatchEvent(new Event('pagehide'))
  const restoring = client.restore(ALICE.did).then(
    () => 'settled',
    () => 'settled',
  )
  client.close()
  page.dispatchEvent(new Event('pageshow'))
  expect(await Promise.race([restoring, later(500)])).toBe('settled')
})

test('a mark that another tab wrote in the same millisecond is not taken for this one’s own (L01, K07)', async () => {
  vi.stubGlobal('navigator', { onLine: true, languages: ['en'] })
  const { network, session, openTab } = await signedInBrowser()
  const other = await openTab()
  network.clock.advance(2 * HOUR)
  let second: Promise<Response> | undefined
  const { put } = IDBObjectStore.prototype
  vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(function (this: IDBObjectStore, ...args) {
    if (this.name === 'sessions' && !second) {
      second = other.session.fetch(PING)
      throw new DOMException('Lost', 'UnknownError')
    }
    return put.apply(this, args)
  })
  await session.fetch(PING)
  await second
  expect(network.violations()).toEqual([])
})
