import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { engines, type Page } from '../engines/index.ts'
import type { Site } from '../engines/serve.ts'
import { type Account, countRounds, type LogEntry, type Network } from '../network/network.ts'
import { startNetworkProcess } from '../network/start.ts'
import {
  accountOf,
  open,
  outcome,
  request,
  requestsOf,
  serveApp,
  signIn,
  signOutAll,
  startRequest,
  useContext,
} from './app.ts'

const database = 'signet:default'
const collection = 'app.bsky.feed.post'
const refreshing = { grantType: 'refresh_token' }

let network: Network
let app: Site
let alice: Account
let carol: Account

beforeAll(async () => {
  network = await startNetworkProcess()
  app = await serveApp(network)
  alice = accountOf(network, 'alice.test')
  carol = accountOf(network, 'carol.test')
})
afterAll(async () => {
  await app?.close()
  await network?.stop()
})

const names = (entries: LogEntry[]) =>
  entries.map(({ method, path }) => `${method} ${path.replace(/^\/xrpc\//, '')}`)

const partiesAsked = async () => [...new Set((await network.log.entries()).map(({ party }) => party))]

/** Writes a post and reads it back, both by the session in use. */
function post(page: Page, text: string) {
  return page.eval(
    async ({ collection, text }) => {
      const { session } = window.app.client
      if (!session) throw new Error('Nobody is signed in')
      const record = { $type: collection, text, createdAt: new Date().toISOString() }
      const created = await session.fetch('/xrpc/com.atproto.repo.createRecord', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ repo: session.did, collection, record }),
      })
      const { uri } = await created.json()
      const query = new URLSearchParams({ repo: session.did, collection, rkey: uri.split('/').at(-1) })
      const read = await session.fetch(`/xrpc/com.atproto.repo.getRecord?${query}`)
      return { uri: uri as string, read: (await read.json()) as { uri: string; value: { text: string } } }
    },
    { collection, text },
  )
}

describe.each(engines)('$name', (engine) => {
  const shared = useContext(engine)
  let page: Page

  /** On a fresh page of the application. */
  async function signInOnly(...accounts: Account[]) {
    page ??= await shared.context.newPage()
    await open(page, app.origin)
    await signOutAll(page)
    for (const account of accounts) await signIn(page, network, account)
    await network.log.clear()
  }

  test('is back after a reload without a request, and its first answer takes two rounds at most (STO-15)', async () => {
    await signInOnly(alice)
    await network.log.clear()
    await page.reload()
    expect(await outcome(page)).toMatchObject({ did: alice.did })
    const snapshot = await page.eval(() => {
      const { status, session } = window.app.client.getSnapshot()
      return { status, handle: session?.account.handle, state: session?.status }
    })
    expect(snapshot).toEqual({ status: 'signed-in', handle: alice.handle, state: 'active' })
    expect(await network.log.entries()).toEqual([])
    expect(await request(page)).toBe('200')
    const entries = await requestsOf(network, app)
    expect(names(entries.filter(({ preflight }) => !preflight))).toEqual([
      'GET com.atproto.server.getSession',
    ])
    expect(countRounds(entries)).toBeLessThanOrEqual(2)
  })

  test('posts a record and reads it, and so the server has it', async () => {
    await signInOnly(alice)
    const text = `From ${engine.name}`
    const { uri, read } = await post(page, text)
    expect(read).toMatchObject({ uri, value: { text } })
    expect(await network.listRecords(alice.did, collection)).toContainEqual(
      expect.objectContaining({ uri, value: expect.objectContaining({ text }) }),
    )
  })

  test('keeps its key where no script can read it, and no secret in localStorage or cookies (DPOP-21, STO-02)', async () => {
    await signInOnly(alice)
    await page.reload()
    await outcome(page)
    const kept = await page.eval(
      async ({ database, did }) => {
        const opening = indexedDB.open(database)
        await new Promise((done) => opening.addEventListener('success', done))
        const reading = opening.result
          .transaction('sessions')
          .objectStore('sessions')
          .get(IDBKeyRange.bound(`${did} `, `${did}!`))
        await new Promise((done) => reading.addEventListener('success', done))
        opening.result.close()
        const { privateKey } = reading.result.record.dpopKey as { privateKey: CryptoKey }
        const exported = await crypto.subtle.exportKey('jwk', privateKey).then(
          () => 'exported',
          (error: DOMException) => error.name,
        )
        return { type: privateKey.type, extractable: privateKey.extractable, exported }
      },
      { database, did: alice.did },
    )
    expect(kept).toEqual({ type: 'private', extractable: false, exported: 'InvalidAccessError' })
    expect(await page.eval(() => [localStorage.length, sessionStorage.length, document.cookie])).toEqual([
      0,
      0,
      '',
    ])
  })

  test('replaces its tokens in one round, sends no refresh token twice, and the next page has the new ones (REF-02, I01)', async () => {
    await signInOnly(alice)
    expect(await request(page)).toBe('200')
    await network.log.clear()
    await page.eval(async () => window.app.client.session?.refresh())
    const [first] = await network.log.entries(refreshing)
    await network.log.clear()
    await page.eval(async () => window.app.client.session?.refresh())
    const entries = await requestsOf(network, app)
    expect(entries).toMatchObject([{ path: '/oauth/token', preflight: false, status: 200 }])
    expect(entries[0]?.refreshTokenHash).not.toBe(first?.refreshTokenHash)
    expect(await request(page)).toBe('200')
    await page.reload()
    await outcome(page)
    expect(await request(page)).toBe('200')
  })

  test('refreshes an expired token by itself, once for all requests that wait for it (REF-04)', async () => {
    await network.setTokenLifetime(2)
    await signInOnly(alice)
    await network.setTokenLifetime(3600)
    await page.waitFor(() => Date.now() > (window.app.client.session?.expiresAt ?? Number.NaN))
    await network.log.clear()
    const statuses = await page.eval(async () => {
      const ask = () => window.app.client.session?.fetch('/xrpc/com.atproto.server.getSession')
      const answers = await Promise.all([ask(), ask(), ask(), ask(), ask()])
      return answers.map((answer) => answer?.status)
    })
    expect(statuses).toEqual([200, 200, 200, 200, 200])
    expect(await network.log.entries(refreshing)).toMatchObject([{ status: 200 }])
  })

  test('goes on when the clock of its device jumps by hours, either way (DPOP-23)', async () => {
    await signInOnly(alice)
    for (const hours of [5, -9]) {
      await page.eval((ms) => {
        window.clock.offset = ms
      }, hours * 3_600_000)
      expect(await request(page)).toBe('200')
      await page.eval(async () => window.app.client.session?.refresh())
      expect(await request(page)).toBe('200')
    }
    const hashes = (await network.log.entries(refreshing)).map(({ refreshTokenHash }) => refreshTokenHash)
    expect(new Set(hashes).size).toBeLessThanOrEqual(3)
  })

  test('says that its account has moved, and signs in at the new server in one call (REF-14)', async () => {
    const erin = await network.createAccount(`erin-${engine.name}.test`, 0)
    await network.setTokenLifetime(86_400)
    await signInOnly(erin)
    await network.setTokenLifetime(3600)
    expect(await request(page)).toBe('200')
    const moved = await network.moveAccount(erin.did)
    await page.eval(() => {
      window.clock.offset = 3_700_000
    })
    await startRequest(page)
    await page.waitFor(() => window.app.client.session?.status === 'moved')
    expect(await page.eval(() => window.app.client.accounts[0]?.movedTo)).toBe(network.origins.pds2)
    expect(await request(page)).toBe('account_moved')
    const url = await page.eval(async (did) => (await window.app.client.authorize(did)).url, erin.did)
    expect(new URL(url).origin).toBe(network.origins.pds2)
    const callback = await network.authorize(url, moved)
    await page.eval(async (url) => void (await window.app.client.handleCallback(url)), callback)
    expect(await request(page)).toBe('200')
    expect(await page.eval(() => window.app.client.accounts.map(({ did, status }) => [did, status]))).toEqual(
      [[erin.did, 'active']],
    )
  })

  test('signs out, and the server refuses the refresh token even to the key it belongs to (REV-03)', async () => {
    await signInOnly(carol)
    await network.log.clear()
    const row = { database, did: carol.did }
    // The record is kept aside and put back, as a thief of the profile would have it.
    await page.eval(async ({ database, did }) => {
      const opening = indexedDB.open(database)
      await new Promise((done) => opening.addEventListener('success', done))
      const reading = opening.result
        .transaction('sessions')
        .objectStore('sessions')
        .get(IDBKeyRange.bound(`${did} `, `${did}!`))
      await new Promise((done) => reading.addEventListener('success', done))
      Reflect.set(window, 'stolen', reading.result)
      opening.result.close()
      await window.app.client.signOut()
    }, row)
    expect(await page.eval(() => [window.app.client.status, window.app.client.accounts.length])).toEqual([
      'signed-out',
      0,
    ])
    expect(await network.log.entries({ path: '/oauth/revoke' })).toMatchObject([{ dpop: true, status: 200 }])
    await page.eval(async ({ database, did }) => {
      const opening = indexedDB.open(database)
      await new Promise((done) => opening.addEventListener('success', done))
      const writing = opening.result.transaction('sessions', 'readwrite')
      const stolen = Reflect.get(window, 'stolen')
      writing.objectStore('sessions').put(stolen, `${did} ${stolen.record.clientId}`)
      await new Promise((done) => writing.addEventListener('complete', done))
      opening.result.close()
    }, row)
    await page.reload()
    await outcome(page)
    const refused = await page.eval(async (did) => {
      const session = await window.app.client.restore(did)
      return session.refresh().then(
        () => 'refreshed',
        ({ code, reason }) => [code, reason],
      )
    }, carol.did)
    expect(refused).toEqual(['session_ended', 'refresh_rejected'])
    const entries = await network.log.entries(refreshing)
    expect([...new Set(entries.map(({ status }) => status))]).toEqual([400])
  })

  test('serves two accounts on two servers side by side, and each gets its own requests only', async () => {
    await signInOnly(alice, carol)
    const accounts = () =>
      page.eval(() => window.app.client.accounts.map(({ did, current }) => ({ did, current })))
    expect(await accounts()).toEqual([
      { did: alice.did, current: false },
      { did: carol.did, current: true },
    ])
    await network.log.clear()
    expect(await request(page)).toBe('200')
    expect(await partiesAsked()).toEqual(['pds2'])

    await page.eval(async (did) => void (await window.app.client.switchAccount(did)), alice.did)
    await network.log.clear()
    expect(await request(page)).toBe('200')
    expect(await partiesAsked()).toEqual(['pds1'])

    await page.reload()
    expect(await outcome(page)).toMatchObject({ did: alice.did })
    await page.eval(async () => window.app.client.signOut())
    expect(await accounts()).toEqual([{ did: carol.did, current: false }])
    await network.log.clear()
    const status = await page.eval(async (did) => {
      const session = await window.app.client.switchAccount(did)
      return (await session.fetch('/xrpc/com.atproto.server.getSession')).status
    }, carol.did)
    expect(status).toBe(200)
    expect(await partiesAsked()).toEqual(['pds2'])
  })

  describe('with a profile on disk', () => {
    let profile: string
    beforeAll(async () => {
      profile = await mkdtemp(join(tmpdir(), 'signet-profile-'))
    })
    afterAll(() => rm(profile, { recursive: true, force: true, maxRetries: 5 }))

    async function inProfile(work: (page: Page) => Promise<void>) {
      const context = await shared.browser.newContext({ profile })
      try {
        await work(await context.newPage())
      } finally {
        await context.close()
      }
    }

    test('is there after a restart of the browser, and a refresh with nothing cached takes two rounds (DPOP-21)', async () => {
      await inProfile(async (page) => {
        await open(page, app.origin)
        await signIn(page, network, alice)
        expect(await request(page)).toBe('200')
      })
      await network.log.clear()
      await inProfile(async (page) => {
        expect(await open(page, app.origin)).toMatchObject({ did: alice.did })
        expect(await network.log.entries()).toEqual([])
        await page.eval(async () => window.app.client.session?.refresh())
        const entries = await requestsOf(network, app)
        expect(names(entries)).toEqual(['OPTIONS /oauth/token', 'POST /oauth/token'])
        expect(await request(page)).toBe('200')
      })
    })
  })
})
