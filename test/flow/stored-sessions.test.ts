import { afterEach, describe, expect, test, vi } from 'vitest'
import { signInTo } from '../support/client.ts'
import {
  ALICE,
  APP,
  at,
  BOB,
  CLIENT_ID,
  CLIENT_METADATA,
  createFakeNetwork,
  faults,
  REDIRECT_URI,
} from '../support/network.ts'
import { failureOf } from './failure.ts'
import { DAY, HOUR, PING, record, refreshes, SECOND } from './signed-in.ts'
import { createBrowser, editRow, type Row, readAll, readRow, rowKey, signedInBrowser, write } from './tabs.ts'

afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllGlobals()
})

describe('a page load', () => {
  test('brings back the account in use without a request, also offline (STO-15)', async () => {
    const browser = await signedInBrowser()
    const { network } = browser
    browser.client.close()
    network.on({}, faults.unreachable())
    const before = network.log.length
    const next = await browser.openTab()
    expect(next.session).toMatchObject({ did: ALICE.did, status: 'active', scope: browser.session.scope })
    expect(next.client.accounts).toMatchObject([{ did: ALICE.did, handle: ALICE.handle }])
    expect(network.log.length).toBe(before)
  })

  test('goes on with the same key, which cannot be exported, and with the nonce at hand (DPOP-21, DPOP-24)', async () => {
    const browser = await signedInBrowser()
    const { network, namespace } = browser
    await browser.session.fetch(PING)
    await vi.waitFor(async () => expect(await readAll(namespace, 'nonces')).toHaveLength(1))
    browser.client.close()
    const { session } = await browser.openTab()
    const before = network.log.length
    expect((await session.fetch(PING)).status).toBe(200)
    expect(network.log.length - before).toBe(1)
    expect(network.log.at(-1)?.proof?.jkt).toBe(network.sessions()[0]?.jkt)
    const { privateKey } = (await readRow(namespace, ALICE.did))?.record.dpopKey ?? {}
    expect(privateKey).toMatchObject({ extractable: false, type: 'private' })
    for (const format of ['jwk', 'pkcs8'] as const) {
      await expect(crypto.subtle.exportKey(format, privateKey)).rejects.toThrow()
    }
    network.assertClean()
  })

  test('after a night replaces the token and makes the request (STO-15, REF-11)', async () => {
    const browser = await signedInBrowser()
    const { network } = browser
    browser.client.close()
    network.clock.advance(10 * HOUR)
    const { session } = await browser.openTab()
    expect((await session.fetch(PING)).status).toBe(200)
    expect(refreshes(network)).toBe(1)
    network.assertClean()
  })

  test('on the thirteenth day reports that the session is about to end (REF-12, STO-14)', async () => {
    const browser = await signedInBrowser()
    const { network } = browser
    browser.client.close()
    network.clock.advance(13 * DAY + HOUR)
    const client = browser.openClient()
    const { diagnostics } = record(client)
    const session = await client.initialize()
    expect(diagnostics).toContainEqual({
      code: 'session_ending',
      did: ALICE.did,
      endsAt: session?.account.endsAt,
    })
  })

  test('lists accounts in the order of their sign-in and opens the one used last (STO-14)', async () => {
    const browser = await signedInBrowser()
    const { network, client } = browser
    network.clock.advance(SECOND)
    await signInTo(network, client, BOB.handle)
    network.clock.advance(SECOND)
    await client.switchAccount(ALICE.did)
    const next = await browser.openTab()
    expect(next.client.accounts.map(({ did, current }) => [did, current])).toEqual([
      [ALICE.did, true],
      [BOB.did, false],
    ])
  })
})

describe('a stored session', () => {
  const brokenBy = async (change: (row: Row) => unknown) => {
    const browser = await signedInBrowser()
    const { network, client, namespace } = browser
    network.clock.advance(SECOND)
    await signInTo(network, client, BOB.handle)
    client.close()
    await editRow(namespace, ALICE.did, change)
    const next = browser.openClient()
    return { ...browser, next, ...record(next) }
  }
  const jwk = { kty: 'EC', crv: 'P-256', x: 'x', y: 'y', d: 'd' }
  const withRecord = (change: (record: NonNullable<Row['record']>) => unknown) => (row: Row) => {
    change(row.record)
  }

  test.each<[string, (row: Row) => unknown]>([
    ['is a string', () => 'garbage'],
    ['is a number', () => 7],
    ['is a list', () => []],
    ['is empty', () => ({})],
    ['is of an older version', (row) => ({ ...row, version: 0 })],
    ['has no record', () => ({ version: 1 })],
    [
      'is somebody else’s',
      withRecord((record) => {
        record.did = BOB.did
      }),
    ],
    [
      'has no key',
      withRecord((record) => {
        delete record.dpopKey
      }),
    ],
    [
      'has a plain object as key',
      withRecord((record) => {
        record.dpopKey = { privateKey: {}, publicJwk: jwk }
      }),
    ],
    [
      'has a JWK as key',
      withRecord((record) => {
        record.dpopKey.privateKey = jwk
      }),
    ],
    [
      'has no tokens',
      withRecord((record) => {
        delete record.tokens
      }),
    ],
    [
      'has a number as token',
      withRecord((record) => {
        record.tokens.accessToken = 5
      }),
    ],
    [
      'has no server',
      withRecord((record) => {
        delete record.server
      }),
    ],
    [
      'has no PDS',
      withRecord((record) => {
        record.pds = null
      }),
    ],
  ])(
    'that %s is removed and reported, once; the others and a new sign-in work (K01, K03)',
    async (_name, change) => {
      const { network, namespace, next, diagnostics, openClient } = await brokenBy(change)
      const session = await next.initialize()
      expect(session?.did).toBe(BOB.did)
      expect(next.accounts.map(({ did }) => did)).toEqual([BOB.did])
      expect(diagnostics).toEqual([{ code: 'session_unreadable', did: ALICE.did }])
      expect(await readRow(namespace, ALICE.did)).toBeUndefined()
      expect((await failureOf(network, next.restore(ALICE.did))).code).toBe('session_not_found')

      const after = openClient()
      const again = record(after)
      await after.initialize()
      expect(again.diagnostics).toEqual([])
      expect((await (await signInTo(network, after, ALICE.handle)).fetch(PING)).status).toBe(200)
      network.assertClean()
    },
  )

  test('with an extractable key is removed and reported (K01, DPOP-21)', async () => {
    const pair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, [
      'sign',
      'verify',
    ])
    const { next, diagnostics } = await brokenBy(
      withRecord((record) => {
        record.dpopKey.privateKey = pair.privateKey
      }),
    )
    await next.initialize()
    expect(diagnostics).toEqual([{ code: 'session_unreadable', did: ALICE.did }])
  })

  describe.each([
    `http://evil.attacker.dev`,
    'javascript:alert(1)',
    'https://user:password@evil.attacker.dev',
    'https://127.0.0.1:8443',
    'https://localhost',
    'not a URL',
  ])('whose address was changed to %s', (url) => {
    test.each([
      [
        'PDS',
        (record: NonNullable<Row['record']>) => {
          record.pds = url
        },
      ],
      [
        'issuer',
        (record: NonNullable<Row['record']>) => {
          record.server.issuer = url
        },
      ],
      [
        'token endpoint',
        (record: NonNullable<Row['record']>) => {
          record.server.tokenEndpoint = url
        },
      ],
      [
        'revocation endpoint',
        (record: NonNullable<Row['record']>) => {
          record.server.revocationEndpoint = url
        },
      ],
    ])('as its %s is not used (K02)', async (_name, change) => {
      const { network, next, diagnostics } = await brokenBy(withRecord(change))
      await next.initialize()
      const before = network.log.length
      await next.signOut(ALICE.did)
      expect(diagnostics).toEqual([{ code: 'session_unreadable', did: ALICE.did }])
      expect(network.log.length).toBe(before)
      network.assertClean()
    })
  })

  test('that is broken under a live page does not break its requests (K01)', async () => {
    const { network, namespace, session } = await signedInBrowser()
    await write(namespace, 'sessions', rowKey(ALICE.did), 'garbage')
    expect((await session.fetch(PING)).status).toBe(200)
    network.clock.advance(2 * HOUR)
    expect((await session.fetch(PING)).status).toBe(200)
    expect((await readRow(namespace, ALICE.did))?.record.tokens.expiresAt).toBe(session.expiresAt)
    network.assertClean()
  })

  test.each(['__proto__', 'constructor', 'toString', 'hasOwnProperty', ''])(
    'by the name %j is none, and asking for it changes nothing (K15)',
    async (did) => {
      const { network, namespace, client } = await signedInBrowser()
      const before = await readAll(namespace, 'sessions')
      expect((await failureOf(network, client.restore(did))).code).toBe('session_not_found')
      expect((await failureOf(network, client.switchAccount(did))).code).toBe('session_not_found')
      await client.signOut(did || 'x')
      expect((await readAll(namespace, 'sessions')).map(([key]) => key)).toEqual(before.map(([key]) => key))
      expect(client.session?.did).toBe(ALICE.did)
    },
  )

  test('of an account whose DID reads like a member of every object is like any other (K15)', async () => {
    const account = { did: 'did:web:constructor.dev', handle: 'constructor.dev', pds: ALICE.pds }
    const network = createFakeNetwork({ accounts: [account] })
    const browser = createBrowser(network)
    await signInTo(network, browser.openClient(), account.did)
    const { session } = await browser.openTab()
    expect(session.did).toBe(account.did)
    expect((await session.fetch(PING)).status).toBe(200)
    network.assertClean()
  })
})

test('rows that are no use are deleted some at a time, so that a page with many of them starts (K13)', async () => {
  const { client, namespace, openTab } = await signedInBrowser()
  client.close()
  for (let index = 0; index < 150; index++)
    await write(namespace, 'sessions', rowKey(`did:plc:${index}`), { version: 0 })
  for (const left of [86, 22, 0]) {
    const tab = await openTab()
    expect(await readAll(namespace, 'sessions')).toHaveLength(left + 1)
    tab.client.close()
  }
})

test('settings that are broken sign nobody out (K01)', async () => {
  const browser = await signedInBrowser()
  await write(browser.namespace, 'settings', `current ${CLIENT_ID}`, { toString: 1 })
  await write(browser.namespace, 'nonces', ALICE.did, { value: 7, at: 'now' })
  await write(browser.namespace, 'authorizations', 'x', 'garbage')
  const next = browser.openClient()
  await next.initialize()
  expect(next.accounts.map(({ did }) => did)).toEqual([ALICE.did])
  const session = await next.switchAccount(ALICE.did)
  expect((await session.fetch(PING)).status).toBe(200)
  browser.network.assertClean()
})

describe('two apps of one origin', () => {
  const OTHER = {
    ...CLIENT_METADATA,
    client_id: `${APP}/other-metadata.json`,
    client_uri: undefined as never,
  }

  test('with namespaces of their own know nothing of each other (STO-07)', async () => {
    const network = createFakeNetwork()
    const [one, two] = [createBrowser(network), createBrowser(network)]
    const { client } = { client: one.openClient() }
    await signInTo(network, client, ALICE.handle)
    const other = two.openClient()
    expect(await other.initialize()).toBeUndefined()
    await signInTo(network, other, BOB.handle)
    expect(client.accounts.map(({ did }) => did)).toEqual([ALICE.did])
    expect(other.accounts.map(({ did }) => did)).toEqual([BOB.did])
    expect((await one.openTab()).session.did).toBe(ALICE.did)
    network.assertClean()
  })

  test('and one namespace do not use each other’s sessions, and do not destroy them (STO-07)', async () => {
    const { client_uri: _, ...clientMetadata } = OTHER
    const browser = await signedInBrowser()
    const { network } = browser
    const other = browser.openClient({ clientMetadata })
    const { diagnostics } = record(other)
    expect(await other.initialize()).toBeUndefined()
    expect(other.accounts).toEqual([])
    expect((await failureOf(network, other.restore(ALICE.did))).code).toBe('session_not_found')
    expect(diagnostics).toEqual([])
    expect((await browser.openTab()).session.did).toBe(ALICE.did)
  })

  test('and one account and one namespace keep a session each (STO-07)', async () => {
    const { client_uri: _, ...clientMetadata } = OTHER
    const browser = await signedInBrowser()
    const { network } = browser
    const session = await signInTo(network, browser.openClient({ clientMetadata }), ALICE.handle)
    expect(network.sessions().map(({ alive }) => alive)).toEqual([true, true])
    network.clock.advance(2 * HOUR)
    expect((await browser.session.fetch(PING)).status).toBe(200)
    expect((await session.fetch(PING)).status).toBe(200)
    for (const overrides of [{}, { clientMetadata }]) {
      const next = await browser.openTab(overrides)
      expect((await next.session.fetch(PING)).status).toBe(200)
    }
    expect(refreshes(network)).toBe(2)
    network.assertClean()
  })

  test('do not finish each other’s sign-ins (STO-07)', async () => {
    const { client_uri: _, ...clientMetadata } = OTHER
    const network = createFakeNetwork()
    const browser = createBrowser(network)
    const { url } = await browser.openClient().authorize(ALICE.handle)
    const other = browser.openClient({ clientMetadata, redirectUri: REDIRECT_URI })
    await failureOf(network, other.handleCallback(network.approve(url)))
    expect(network.count(at.token)).toBe(0)
    expect(other.accounts).toEqual([])
  })
})
