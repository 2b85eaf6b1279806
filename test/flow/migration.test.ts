import { deleteDB } from 'idb'
import { describe, expect, test, vi } from 'vitest'
import { createTestClient, signInTo } from '../support/client.ts'
import {
  ALICE,
  AS2,
  at,
  BOB,
  createFakeNetwork,
  type FakeNetwork,
  faults,
  PDS,
  PDS2,
} from '../support/network.ts'
import { failureOf } from './failure.ts'
import { HOUR, MINUTE, PING, record, until } from './signed-in.ts'
import { createBrowser } from './tabs.ts'

/** ALICE, signed in with a token that lives for a day. */
async function settled() {
  const network = createFakeNetwork()
  network.as.settings.accessTokenLifetime = 86_400
  const client = createTestClient(network)
  const session = await signInTo(network, client, ALICE.handle)
  await session.fetch(PING)
  return { network, client, session }
}

describe('an account that has moved to another server', () => {
  test('is noticed in use, and its old server gets nothing more (REF-14, I12)', async () => {
    const { network, client, session } = await settled()
    const { sessions } = record(client)
    network.moveAccount(ALICE.did, PDS2)
    network.clock.advance(HOUR + MINUTE)
    network.on(at.resource, faults.answer({}))
    expect((await session.fetch(PING)).status).toBe(200)
    await until(client, () => session.status === 'moved')
    expect(sessions.at(-1)).toMatchObject({ did: ALICE.did, status: 'moved' })
    expect(client.accounts).toMatchObject([{ did: ALICE.did, status: 'moved', movedTo: PDS2 }])
    const before = network.count(at.resource)
    expect(await failureOf(network, session.fetch(PING))).toMatchObject({
      code: 'account_moved',
      did: ALICE.did,
      expected: PDS,
      received: PDS2,
    })
    expect((await failureOf(network, session.refresh())).code).toBe('account_moved')
    expect(network.count(at.resource)).toBe(before)
    expect(network.count(at.refresh)).toBe(0)
    network.assertClean()
  })

  test('has its old session revoked (I12)', async () => {
    const { network, client, session } = await settled()
    network.moveAccount(ALICE.did, PDS2)
    network.clock.advance(HOUR + MINUTE)
    await session.fetch(PING).catch(() => {})
    await until(client, () => session.status === 'moved')
    await vi.waitFor(() => expect(network.sessionAlive(ALICE.did)).toBe(false))
    network.assertClean()
  })

  test('is no less moved when its old server refuses a refresh that was on its way (REF-14)', async () => {
    const { network, client, session } = await settled()
    network.moveAccount(ALICE.did, PDS2)
    network.clock.advance(HOUR + MINUTE)
    network.on(at.resource, faults.answer({}))
    const held = faults.hold()
    const refuse = faults.answer({ error: 'invalid_grant' }, { status: 400 })
    network.on(at.refresh, (request, next) => held.handler(request, async () => refuse(request, next)))
    const refresh = failureOf(network, session.refresh())
    await held.reached
    await session.fetch(PING)
    await vi.waitFor(() => expect(client.accounts).toMatchObject([{ status: 'moved' }]))
    held.release()
    expect((await refresh).code).toBe('account_moved')
    expect(client.accounts).toMatchObject([{ status: 'moved', movedTo: PDS2 }])
    network.assertClean()
  })

  test('signs in at the new server by its DID, and is the same account here (REF-14)', async () => {
    const { network, client, session } = await settled()
    network.moveAccount(ALICE.did, PDS2)
    network.clock.advance(HOUR + MINUTE)
    await session.fetch(PING).catch(() => {})
    await until(client, () => session.status === 'moved')
    const again = await signInTo(network, client, session.did)
    expect(again).toBe(session)
    expect(session).toMatchObject({ pds: PDS2, issuer: AS2, status: 'active' })
    expect((await session.fetch(PING)).status).toBe(200)
    expect(network.log.at(-1)?.origin).toBe(PDS2)
    expect(client.accounts).toHaveLength(1)
    network.assertClean()
  })

  test('is looked for sooner when its server no longer answers (REF-14)', async () => {
    const { network, client, session } = await settled()
    network.moveAccount(ALICE.did, PDS2)
    network.on(at.resource, faults.unreachable())
    for (let request = 0; request < 3; request++) await failureOf(network, session.fetch(PING))
    await until(client, () => session.status === 'moved')
    expect(client.accounts[0]?.movedTo).toBe(PDS2)
  })
})

describe('a session in use', () => {
  test('follows its account to another PDS of the same issuer (REF-14, RS-11)', async () => {
    const NEW = 'https://pds3.signet.dev'
    const { network, client, session } = await settled()
    network.alias(NEW, 'pds')
    network.on(
      { origin: NEW, path: '/.well-known/oauth-protected-resource' },
      faults.changeJson((metadata) => ({ ...metadata, resource: NEW })),
    )
    network.on({ origin: NEW, path: /^\/xrpc\// }, faults.answer({}))
    network.on(
      { ...at.issuerMetadata },
      faults.changeJson((metadata) => ({ ...metadata, protected_resources: [PDS, NEW] })),
    )
    network.tolerate('INV1')
    network.moveAccount(ALICE.did, NEW)
    network.clock.advance(HOUR + MINUTE)
    await session.fetch(PING)
    await until(client, () => session.pds === NEW)
    expect(session.status).toBe('active')
    await session.fetch(PING)
    expect(network.log.at(-1)?.origin).toBe(NEW)
    network.assertClean()
  })

  test('is not disturbed by a directory that is out of reach (REF-14)', async () => {
    const { network, session } = await settled()
    network.on(at.plc, faults.unreachable())
    const before = network.count(at.plc)
    network.clock.advance(5 * HOUR)
    for (let request = 0; request < 4; request++) expect((await session.fetch(PING)).status).toBe(200)
    await network.settled(at.plc, before + 1)
    expect((await session.fetch(PING)).status).toBe(200)
    expect(session.status).toBe('active')
    expect(network.count(at.plc)).toBe(before + 1)
  })

  test('is looked up once in an hour, however many requests it makes (REF-14)', async () => {
    const { network, session } = await settled()
    const before = network.count(at.plc)
    for (let minute = 0; minute < 55; minute += 5) {
      network.clock.advance(5 * MINUTE)
      await session.fetch(PING)
    }
    expect(network.count(at.plc)).toBe(before)
    network.clock.advance(10 * MINUTE)
    await Promise.all(Array.from({ length: 10 }, () => session.fetch(PING)))
    await network.settled(at.plc, before + 1)
    await session.fetch(PING)
    expect(network.count(at.plc)).toBe(before + 1)
    network.assertClean()
  })
})

describe('what is known of an account', () => {
  test('is not what a look that began before a new sign-in found (REF-14)', async () => {
    const { network, client, session } = await settled()
    network.moveAccount(ALICE.did, PDS2)
    network.clock.advance(HOUR + MINUTE)
    const held = faults.hold()
    network.on({ role: 'pds2', path: '/.well-known/oauth-protected-resource' }, held.handler, { times: 1 })
    await session.fetch(PING).catch(() => {})
    await held.reached
    await signInTo(network, client, ALICE.did)
    held.release()
    await network.settled({ role: 'pds2', path: '/.well-known/oauth-protected-resource' }, 2)
    expect((await session.fetch(PING)).status).toBe(200)
    expect(session).toMatchObject({ pds: PDS2, status: 'active' })
  })

  test('never sends its new tokens to the server it came from (RS-02)', async () => {
    const { network, client, session } = await settled()
    const held = faults.hold()
    network.on({ ...at.resource, path: PING }, held.handler, { times: 1 })
    const request = session.fetch(PING)
    await held.reached
    network.moveAccount(ALICE.did, PDS2)
    network.clock.advance(2 * MINUTE)
    await signInTo(network, client, ALICE.did)
    held.release()
    await request.catch(() => {})
    expect(network.violations()).toEqual([])
  })

  test.each([
    ['leads to somebody else now', (network: FakeNetwork) => lead(network, BOB.did)],
    [
      'is not in its document any more',
      (network: FakeNetwork) =>
        network.on(
          at.plc,
          faults.changeJson((document) => ({ ...document, alsoKnownAs: [] })),
        ),
    ],
  ])('is no handle that %s (HDL-14)', async (_what, change) => {
    const { network, client, session } = await settled()
    expect(session.account.handle).toBe(ALICE.handle)
    change(network)
    network.clock.advance(HOUR + MINUTE)
    await session.fetch(PING)
    await vi.waitFor(() => expect(client.accounts[0]?.handle).toBeUndefined())
    expect(session.status).toBe('active')
  })

  test('keeps its handle while nobody can say where it leads (HDL-14)', async () => {
    const { network, session } = await settled()
    network.on({ role: 'xrpc' }, faults.unreachable())
    const before = network.count({ role: 'xrpc' })
    network.clock.advance(HOUR + MINUTE)
    await session.fetch(PING)
    await network.settled({ role: 'xrpc' }, before + 1)
    await session.fetch(PING)
    expect(session.account.handle).toBe(ALICE.handle)
  })

  test('is looked up once however long its server is out of reach, and not for calls that were aborted (L10)', async () => {
    const { network, session } = await settled()
    const before = network.count(at.plc)
    for (let call = 0; call < 3; call++) {
      const held = faults.hold()
      network.on(at.resource, held.handler, { times: 1 })
      const stop = new AbortController()
      const sent = session.fetch(PING, { signal: stop.signal })
      await held.reached
      stop.abort()
      await expect(sent).rejects.toMatchObject({ name: 'AbortError' })
      held.release()
    }
    await session.fetch(PING)
    expect(network.count(at.plc)).toBe(before)
    network.on(at.resource, faults.unreachable())
    for (let call = 0; call < 20; call++) {
      await failureOf(network, session.fetch(PING))
      if (call === 3) await network.settled(at.plc, before + 1)
    }
    expect(network.count(at.plc)).toBe(before + 1)
  })
})

function lead(network: FakeNetwork, did: string): void {
  network.handles.set(ALICE.handle, { dns: [`did=${did}`], wellKnown: did, xrpc: did })
}

test('an account whose database was deleted under the page is looked up once an hour, too (L10, N12)', async () => {
  const network = createFakeNetwork()
  network.as.settings.accessTokenLifetime = 86_400
  const { namespace, openClient } = createBrowser(network)
  const session = await signInTo(network, openClient(), ALICE.handle)
  await deleteDB(`signet:${namespace}`)
  network.clock.advance(HOUR + MINUTE)
  const before = network.count(at.plc)
  for (let request = 0; request < 5; request++) {
    await session.fetch(PING)
    await network.settled(at.plc, before + 1)
  }
  expect(network.count(at.plc)).toBe(before + 1)
})
