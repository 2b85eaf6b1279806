import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { OAuthClient } from '../../src/index.ts'
import { createTestClient, signInTo } from '../support/client.ts'
import {
  ALICE,
  at,
  createFakeNetwork,
  type FakeNetwork,
  type FakeRequest,
  faults,
} from '../support/network.ts'
import { useDisk } from './disk.ts'
import { rowKey } from './tabs.ts'

const disk = useDisk()
let network: FakeNetwork
let client: OAuthClient
beforeEach(() => {
  network = createFakeNetwork()
  client = createTestClient(network, { storage: 'auto' })
})
afterEach(() => network.assertClean())

/** ALICE signs in, some time after whatever came before. */
function signIn() {
  network.clock.advance(60_000)
  return signInTo(network, client, ALICE.handle)
}

interface Row {
  record: { tokens: { refreshToken: string } }
}
const storedRefreshToken = async () =>
  ((await disk.read('sessions')).get(rowKey(ALICE.did)) as Row | undefined)?.record.tokens.refreshToken

describe('signing in again', () => {
  test('replaces the session, and the old one is revoked at its server with its key (TOK-15, H17)', async () => {
    const first = await signIn()
    const second = await signIn()
    expect(second).toBe(first)
    await network.settled({ ...at.revoke, where: succeeded })
    const [old, current] = network.sessions(ALICE.did)
    const revocation = network.requests(at.revoke).find(succeeded)
    expect(revocation?.form).toMatchObject({ token: old?.refreshToken, token_type_hint: 'refresh_token' })
    expect(revocation?.proof?.jkt).toBe(old?.jkt)
    expect(old?.endedBy).toBe('revocation')
    expect(current?.alive).toBe(true)
    expect(current?.jkt).not.toBe(old?.jkt)
    expect((await second.fetch('/xrpc/dev.signet.echo')).status).toBe(200)
    expect(client.accounts).toHaveLength(1)
  })

  test('stores the new session before the old one is touched (TOK-15, H17)', async () => {
    await signIn()
    const stored: unknown[] = []
    network.on(at.revoke, async (_request, next) => {
      stored.push(await storedRefreshToken())
      return next()
    })
    await signIn()
    await network.settled({ ...at.revoke, where: succeeded })
    const [, current] = network.sessions(ALICE.did)
    expect(stored[0]).toBe(current?.refreshToken)
  })

  test('does not wait for the old session to be revoked (TOK-15)', async () => {
    await signIn()
    const gate = faults.hold()
    network.on(at.revoke, gate.handler)
    const session = await signIn()
    expect((await session.fetch('/xrpc/dev.signet.echo')).status).toBe(200)
    gate.release()
    await network.settled({ ...at.revoke, where: succeeded })
    expect(network.sessions(ALICE.did).map(({ alive }) => alive)).toEqual([false, true])
  })

  test.each([
    ['fails', faults.status(500)],
    ['is lost', faults.unreachable()],
  ])('holds, though revoking the old session %s (TOK-15)', async (_name, handler) => {
    await signIn()
    network.on(at.revoke, handler, { times: 1 })
    const session = await signIn()
    await network.settled(at.revoke)
    expect(session.status).toBe('active')
    await session.refresh()
    expect(await storedRefreshToken()).toBe(network.sessions(ALICE.did)[1]?.refreshToken)
  })

  test('that fails leaves the old session as it was (TOK-15, H17)', async () => {
    const session = await signIn()
    const events: unknown[] = []
    client.on('session', (event) => events.push(event))
    network.on(
      at.exchange,
      faults.changeJson((body) => ({ ...body, scope: 'transition:generic' })),
      { times: 1 },
    )
    await expect(signIn()).rejects.toMatchObject({ code: 'scope_missing' })
    expect(events).toEqual([])
    expect(client.session).toBe(session)
    expect((await session.fetch('/xrpc/dev.signet.echo')).status).toBe(200)
    expect(network.sessions(ALICE.did).map(({ alive }) => alive)).toEqual([true, false])
  })

  test('for the first time ends nothing (H17)', async () => {
    const events: { status: string }[] = []
    client.on('session', (event) => events.push(event))
    await signIn()
    expect(events.map(({ status }) => status)).toEqual(['active'])
    expect(network.count(at.revoke)).toBe(0)
  })
})

function succeeded({ response }: FakeRequest): boolean {
  return response?.status === 200
}
