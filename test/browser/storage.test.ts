import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import {
  type ClientEvents,
  createOAuthClient,
  type OAuthClient,
  type OAuthClientOptions,
  type Session,
} from '../../src/index.ts'
import { takePendingAuthorization } from '../../src/storage/authorizations.ts'
import { openStorage } from '../../src/storage/database.ts'
import { settled, unblocked, within } from './database.ts'
import { ALICE, BOB, createServers, type Servers } from './servers.ts'

const HOUR = 3_600_000
const PING = '/xrpc/com.atproto.server.getSession'

let servers: Servers
let namespace: string
let name: string
let diagnostics: ClientEvents['diagnostic'][]
/** How much later it is than it is. */
let later: number

beforeEach(() => {
  servers = createServers()
  namespace = crypto.randomUUID()
  name = `signet:${namespace}`
  diagnostics = []
  later = 0
})
afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
  vi.restoreAllMocks()
})

/** A client as another page of the app would have it. */
function openClient(options: OAuthClientOptions = {}): OAuthClient {
  const client = createOAuthClient({
    ...servers.options,
    namespace,
    now: () => Date.now() + later,
    ...options,
  })
  client.on('diagnostic', (event) => diagnostics.push(event))
  onTestFinished(() => client.close())
  return client
}

async function signIn(client: OAuthClient, handle = 'alice.signet.dev'): Promise<Session> {
  const { url } = await client.authorize(handle)
  return client.handleCallback(servers.approve(url))
}

const statusOf = async (session: Session | undefined) => (await session?.fetch(PING))?.status
const keysOf = (store: string) => within(name, store, (objects) => objects.getAllKeys())

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'nothing failed',
    (error) => error.code,
  )
}

/** Where an account's session is kept, whichever the client. */
const rowOf = (did: string) => IDBKeyRange.bound(`${did} `, `${did}!`)

const put = IDBObjectStore.prototype.put
type Put = typeof put

describe('a session', () => {
  test('is found by the next page, with a key that signs and cannot be exported (DPOP-21, STO-02)', async () => {
    const first = openClient()
    await signIn(first)
    first.close()
    const next = openClient()
    expect(next.storageTier).toBe(undefined)
    const session = await next.initialize()
    expect(next.storageTier).toBe('indexeddb')
    expect(session).toMatchObject({ did: ALICE, status: 'active' })
    expect(await statusOf(session)).toBe(200)
    const { record } = await within(name, 'sessions', (objects) => objects.get(rowOf(ALICE)))
    expect(record.dpopKey.privateKey).toMatchObject({ type: 'private', extractable: false })
    await expect(crypto.subtle.exportKey('jwk', record.dpopKey.privateKey)).rejects.toThrow()
    expect(JSON.stringify({ ...localStorage, ...sessionStorage })).not.toContain(record.tokens.refreshToken)
    expect(diagnostics).toEqual([])
  })

  test('belongs to its namespace, and signing out there leaves the others alone (STO-07)', async () => {
    const mine = openClient()
    const theirs = openClient({ namespace: `${namespace}-other` })
    await signIn(mine, 'alice.signet.dev')
    await signIn(theirs, 'bob.signet.dev')
    expect(mine.accounts.map(({ did }) => did)).toEqual([ALICE])
    expect(theirs.accounts.map(({ did }) => did)).toEqual([BOB])
    await expect(mine.restore(BOB)).rejects.toMatchObject({ code: 'session_not_found' })
    await mine.signOut()
    const next = openClient({ namespace: `${namespace}-other` })
    expect((await next.initialize())?.did).toBe(BOB)
    expect(await statusOf(theirs.session)).toBe(200)
  })

  test.each([
    ['text', () => 'text'],
    ['without tokens', ({ tokens: _, ...record }) => ({ version: 1, record })],
    ['of somebody else', (record) => ({ version: 1, record: { ...record, did: BOB } })],
    [
      'with a key that is none',
      (record) => ({ version: 1, record: { ...record, dpopKey: { privateKey: {} } } }),
    ],
  ] satisfies [string, (record: Record<string, unknown>) => unknown][])(
    'that is stored as something %s is set aside, reported once, and can be made anew (K01)',
    async (_what, spoil) => {
      const first = openClient()
      await signIn(first)
      first.close()
      const { record } = await within(name, 'sessions', (objects) => objects.get(rowOf(ALICE)))
      await within(name, 'sessions', (objects) => objects.put(spoil(record), `${ALICE} ${record.clientId}`))
      const next = openClient()
      expect(await next.initialize()).toBe(undefined)
      expect(next.accounts).toEqual([])
      expect(diagnostics).toEqual([{ code: 'session_unreadable', did: ALICE }])
      await openClient().initialize()
      expect(diagnostics).toHaveLength(1)
      expect(await statusOf(await signIn(next))).toBe(200)
    },
  )
})

describe('a pending sign-in', () => {
  test('is taken by one of two connections that want it at the same time (CB-02, G05)', async () => {
    const never = (cause: unknown) => {
      throw cause
    }
    const [one, two] = await Promise.all([openStorage(name, 'auto', never), openStorage(name, 'auto', never)])
    onTestFinished(() => {
      one.close()
      two.close()
    })
    const { privateKey } = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, [
      'sign',
    ])
    const states = Array.from({ length: 20 }, (_, index) => `state-${index}`)
    for (const state of states) {
      const server = { pushedAuthorizationRequestEndpoint: location.href }
      const pending = {
        state,
        createdAt: Date.now(),
        codeVerifier: state,
        dpopKey: { privateKey },
        redirectUri: location.href,
        server,
      }
      await one.update('authorizations', state, () => pending)
    }
    const taken = await Promise.all(
      states.flatMap((state) => [takePendingAuthorization(one, state), takePendingAuthorization(two, state)]),
    )
    expect(
      taken
        .filter(Boolean)
        .map((pending) => pending?.state)
        .sort(),
    ).toEqual(states.sort())
    expect(await keysOf('authorizations')).toEqual([])
  })

  test('that nobody came back from is gone after an hour, with its key and verifier (STO-05)', async () => {
    const client = openClient()
    for (let count = 0; count < 5; count++) await client.authorize('alice.signet.dev')
    client.close()
    expect(await keysOf('authorizations')).toHaveLength(5)
    later = HOUR + 1
    await openClient().initialize()
    await vi.waitFor(async () => expect(await keysOf('authorizations')).toEqual([]))
  })
})

describe('a browser that keeps no keys', () => {
  test.each([
    [
      'because it refuses to store one',
      function (this: IDBObjectStore, value, key) {
        if (value?.privateKey) throw new DOMException('The object could not be cloned.', 'DataCloneError')
        return put.call(this, value, key)
      } satisfies Put,
    ],
    [
      'because nothing is left of it when it is read',
      function (this: IDBObjectStore, value, key) {
        return put.call(this, value?.privateKey ? { ...value, privateKey: null } : value, key)
      } satisfies Put,
    ],
  ])('%s sends nobody away to sign in (STO-03, K09)', async (_why, putInstead) => {
    vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(putInstead)
    const client = openClient()
    await client.initialize()
    expect(await codeOf(client.authorize('alice.signet.dev'))).toBe('storage_failed')
    expect(servers.requests).not.toContain('/oauth/par')
    vi.restoreAllMocks()
    await client.authorize('alice.signet.dev')
    expect(servers.requests).toContain('/oauth/par')
  })
})

test.each([
  ['is not there', () => vi.stubGlobal('indexedDB', undefined)],
  [
    'may not be opened',
    () =>
      vi.spyOn(IDBFactory.prototype, 'open').mockImplementation(() => {
        throw new DOMException('The operation is insecure.', 'SecurityError')
      }),
  ],
])(
  'memory takes the place of an IndexedDB that %s, for apps that agree to it (STO-03)',
  async (_how, breakIt) => {
    breakIt()
    const client = openClient()
    expect(await client.initialize()).toBe(undefined)
    expect(client.storageTier).toBe('memory')
    expect(diagnostics).toMatchObject([{ code: 'storage_fallback' }])
    expect(await codeOf(client.authorize('alice.signet.dev'))).toBe('storage_failed')
    expect(servers.requests).not.toContain('/oauth/par')
    const content = openClient({ storage: 'memory' })
    expect(await statusOf(await signIn(content))).toBe(200)
  },
)

describe('a database', () => {
  test('that is deleted under the page is let go, and what is in use is written again (N12)', async () => {
    const client = openClient()
    const session = await signIn(client)
    await unblocked(indexedDB.deleteDatabase(name))
    expect(await statusOf(session)).toBe(200)
    await session.refresh()
    client.close()
    const next = openClient()
    await next.initialize()
    expect(await statusOf(await next.restore(ALICE))).toBe(200)
  })

  test('that a newer version has upgraded meanwhile is let go, used as it is, and not taken back (K04)', async () => {
    const client = openClient()
    const session = await signIn(client)
    const opening = indexedDB.open(name, 7)
    opening.onupgradeneeded = () => opening.result.createObjectStore('of-the-future')
    const upgraded = await unblocked(opening)
    upgraded.close()
    await session.refresh()
    client.close()
    const next = openClient()
    expect(await statusOf(await next.initialize())).toBe(200)
    expect(next.storageTier).toBe('indexeddb')
    const after = await settled(indexedDB.open(name))
    expect([after.version, after.objectStoreNames.contains('of-the-future')]).toEqual([7, true])
    after.close()
  })

  test('that another page keeps blocked is given up after five seconds (K05)', async () => {
    const stubborn = await settled(indexedDB.open(name, 1))
    const deletion = indexedDB.deleteDatabase(name)
    await new Promise((blocked) => {
      deletion.onblocked = blocked
    })
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const open = IDBFactory.prototype.open
    const attempts = vi.spyOn(IDBFactory.prototype, 'open')
    const attempted = new Promise<void>((begun) => {
      attempts.mockImplementation(function (this: IDBFactory, ...call) {
        begun()
        return open.apply(this, call)
      })
    })
    const client = openClient()
    const initialized = client.initialize()
    await attempted
    await vi.advanceTimersByTimeAsync(4_999)
    expect(client.storageTier).toBe(undefined)
    await vi.advanceTimersByTimeAsync(1)
    expect(attempts).toHaveBeenCalledTimes(1)
    expect(await initialized).toBe(undefined)
    expect(client.storageTier).toBe('memory')
    expect(diagnostics).toMatchObject([{ code: 'storage_fallback' }])
    stubborn.close()
    await settled(deletion)
  })

  test('whose connection is lost is opened again (K07)', async () => {
    const session = await signIn(openClient())
    const connections = vi.spyOn(IDBFactory.prototype, 'open')
    const transaction = IDBDatabase.prototype.transaction
    vi.spyOn(IDBDatabase.prototype, 'transaction').mockImplementationOnce(function (
      this: IDBDatabase,
      ...call
    ) {
      this.close()
      return transaction.apply(this, call)
    })
    await session.refresh()
    expect(connections).toHaveBeenCalledTimes(1)
    expect(await statusOf(session)).toBe(200)
  })

  test('that is full after a sign-in leaves nobody signed in, here or at the server (STO-04, K11, H16)', async () => {
    const client = openClient()
    await client.initialize()
    const { url } = await client.authorize('alice.signet.dev')
    vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(function (this: IDBObjectStore, value, key) {
      if (this.name === 'sessions') throw new DOMException('No space is left.', 'QuotaExceededError')
      return put.call(this, value, key)
    })
    expect(await codeOf(client.handleCallback(servers.approve(url)))).toBe('storage_failed')
    expect(servers.revoked).toEqual([expect.stringMatching(/^refresh-/)])
    expect(client).toMatchObject({ session: undefined, accounts: [], status: 'signed-out' })
    expect(await keysOf('sessions')).toEqual([])
    expect(await keysOf('authorizations')).toEqual([])
  })

  test('is written to the disk with sessions and pending sign-ins before they count (K12, REF-02)', async () => {
    const written = vi.spyOn(IDBDatabase.prototype, 'transaction')
    const session = await signIn(openClient())
    await session.refresh()
    const durability = (store: string) =>
      written.mock.calls
        .filter(([stores, mode]) => stores === store && mode === 'readwrite')
        .map(([, , options]) => options?.durability)
    expect(durability('sessions').length).toBeGreaterThanOrEqual(3)
    expect(new Set(durability('sessions'))).toEqual(new Set(['strict']))
    expect(durability('authorizations').length).toBeGreaterThanOrEqual(2)
    expect(new Set(durability('authorizations'))).toEqual(new Set(['strict']))
  })
})
