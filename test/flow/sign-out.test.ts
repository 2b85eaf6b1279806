import { afterEach, describe, expect, test, vi } from 'vitest'
import { createTestClient, signInTo } from '../support/client.ts'
import { ALICE, at, BOB, CLIENT_ID, createFakeNetwork, faults } from '../support/network.ts'
import { failureOf } from './failure.ts'
import { HOUR, MINUTE, PING, record, SECOND, signedIn, warm } from './signed-in.ts'
import { readRow, removeRow, signedInBrowser } from './tabs.ts'

afterEach(() => {
  vi.useRealTimers()
})

test('revokes the refresh token with the client and a proof by the session’s key, and forgets the session (REV-01, REV-02, REV-03)', async () => {
  const { network, client, session } = await warm()
  const [server] = network.sessions()
  const token = server?.refreshToken
  await session.signOut()
  const [request] = network.requests(at.revoke)
  expect(request?.form).toEqual({ client_id: CLIENT_ID, token, token_type_hint: 'refresh_token' })
  expect(request?.proof?.jkt).toBe(server?.jkt)
  expect(request?.keepalive).toBe(true)
  expect(network.sessionAlive(ALICE.did)).toBe(false)
  expect(client).toMatchObject({ session: undefined, accounts: [], status: 'signed-out' })
  network.assertClean()
})

test('revokes the access token where there is no other (REV-02)', async () => {
  const network = createFakeNetwork()
  network.on(
    at.exchange,
    faults.changeJson(({ refresh_token: _, ...answer }) => answer),
  )
  const client = createTestClient(network)
  await signInTo(network, client, ALICE.handle)
  const token = network.sessions()[0]?.accessToken
  await client.signOut()
  expect(network.requests(at.revoke)[0]?.form).toMatchObject({ token, token_type_hint: 'access_token' })
  expect(network.sessionAlive(ALICE.did)).toBe(false)
  network.assertClean()
})

test('answers a demand for a nonce, once (REV-05)', async () => {
  const { network, client } = await signedIn()
  network.clock.advance(HOUR)
  await client.signOut()
  expect(network.requests(at.revoke).map(({ response }) => response?.status)).toEqual([400, 200])
  expect(network.sessionAlive(ALICE.did)).toBe(false)
  network.assertClean()
})

describe('forgets the session although the server', () => {
  test.each([
    ['cannot be reached', faults.unreachable()],
    ['is broken', faults.html(500)],
    ['refuses', faults.oauthError('invalid_request')],
    ['refuses every proof', faults.oauthError('invalid_dpop_proof', { status: 401 })],
    ['demands nonces for ever', faults.nonceLoop()],
    ['answers nonsense', faults.text('?', 'text/plain')],
    ['redirects', faults.redirectTo('https://evil.attacker.dev/')],
    ['says yes and does nothing', faults.answer({})],
  ])('%s, and claims nothing about it (REV-01, REV-05, REV-07)', async (_name, handler) => {
    const { network, client, session } = await warm()
    const { sessions } = record(client)
    network.on(at.revoke, handler)
    expect(await client.signOut()).toBeUndefined()
    expect(client).toMatchObject({ session: undefined, accounts: [], status: 'signed-out' })
    expect(sessions).toEqual([expect.objectContaining({ did: ALICE.did, status: 'signed_out' })])
    expect(network.sessionAlive(ALICE.did)).toBe(true)
    expect(network.count(at.revoke)).toBeLessThanOrEqual(2)
    expect(network.count(at.evil)).toBe(0)
    const before = network.log.length
    expect(await failureOf(network, session.fetch(PING))).toMatchObject({
      code: 'session_ended',
      reason: 'signed_out',
    })
    expect(network.log.length).toBe(before)
    network.assertClean()
  })

  test('never answers: it is waited for no longer than five seconds, and nothing waits for it (REV-01, STO-10)', async () => {
    const { network, client } = await warm()
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const revocation = faults.hold()
    network.on(at.revoke, revocation.handler)
    const done = client.signOut()
    await revocation.reached
    expect(client).toMatchObject({ session: undefined, accounts: [], status: 'signed-out' })
    await vi.advanceTimersByTimeAsync(5 * SECOND)
    await done
    expect(vi.getTimerCount()).toBe(0)
    revocation.release()
  })

  test('has no revocation endpoint (REV-01, ASM-17)', async () => {
    const network = createFakeNetwork()
    network.on(
      at.issuerMetadata,
      faults.changeJson(({ revocation_endpoint: _, ...metadata }) => metadata),
    )
    const client = createTestClient(network)
    await signInTo(network, client, ALICE.handle)
    await client.signOut()
    expect(client.accounts).toEqual([])
    expect(network.count(at.revoke)).toBe(0)
    network.assertClean()
  })
})

test('leaves the other accounts as they are (REV-01)', async () => {
  const network = createFakeNetwork()
  const client = createTestClient(network)
  await signInTo(network, client, ALICE.handle)
  const bob = await signInTo(network, client, BOB.handle)
  await client.signOut(ALICE.did)
  expect(client.accounts.map(({ did }) => did)).toEqual([BOB.did])
  expect(client.session).toBe(bob)
  expect((await bob.fetch(PING)).status).toBe(200)
  await client.signOut()
  expect(client.accounts).toEqual([])
  expect(network.sessions().filter(({ alive }) => alive)).toEqual([])
  network.assertClean()
})

test('does nothing when nobody is signed in, or twice (REV-01)', async () => {
  const { network, client, session } = await signedIn()
  await client.signOut()
  const before = network.log.length
  await client.signOut()
  await session.signOut()
  await client.signOut('did:plc:nobodynobodynobodynobody')
  expect(network.log.length).toBe(before)
  expect(client.accounts).toEqual([])
})

test('a session that has ended is forgotten without a request (REV-01)', async () => {
  const { network, client, session } = await signedIn()
  network.revokeSession(ALICE.did)
  await failureOf(network, session.refresh())
  const before = network.log.length
  await client.signOut()
  expect(client.accounts).toEqual([])
  expect(network.log.length).toBe(before)
})

describe('while a refresh is under way', () => {
  test('the tokens it brings are revoked and not kept (L06, REV-01)', async () => {
    const { network, client, session } = await warm()
    network.clock.advance(2 * HOUR)
    const refresh = faults.hold({ after: true })
    network.on({ ...at.refresh, where: ({ proof }) => proof?.payload.nonce !== undefined }, refresh.handler)
    const failed = failureOf(network, session.fetch(PING))
    await refresh.reached
    await client.signOut()
    refresh.release()
    expect(await failed).toMatchObject({ code: 'session_ended', reason: 'signed_out' })
    expect(client.accounts).toEqual([])
    const fresh = network.sessions()[0]?.refreshToken
    expect(network.requests(at.revoke).map(({ form }) => form.token)).toContain(fresh)
    expect(network.sessionAlive(ALICE.did)).toBe(false)
    network.assertClean()
  })

  test('of a session that is replaced by a new sign-in, only the new one is kept (L06, TOK-15)', async () => {
    const { network, client, session } = await warm()
    network.clock.advance(2 * HOUR)
    const refresh = faults.hold({ after: true })
    network.on({ ...at.refresh, where: ({ proof }) => proof?.payload.nonce !== undefined }, refresh.handler, {
      times: 1,
    })
    const request = session.fetch(PING)
    await refresh.reached
    const again = await signInTo(network, client, ALICE.handle)
    refresh.release()
    expect((await request).status).toBe(200)
    expect(again).toBe(session)
    expect((await session.fetch(PING)).status).toBe(200)
    expect(network.log.at(-1)?.accessToken).toBe(network.sessions()[1]?.accessToken)
    await network.settled({ ...at.revoke, where: ({ response }) => response?.status === 200 })
    expect(network.sessions().map(({ alive }) => alive)).toEqual([false, true])
    network.assertClean()
  })
})

test('a request that was under way when the session was signed out is not repeated (REV-06, J22)', async () => {
  const { network, client, session } = await warm()
  const answer = faults.hold()
  network.on(at.resource, answer.handler)
  const failed = failureOf(network, session.fetch(PING))
  await answer.reached
  network.clock.advance(MINUTE)
  await client.signOut()
  const before = network.log.length
  answer.release()
  expect(await failed).toMatchObject({ code: 'session_ended', reason: 'signed_out' })
  expect(network.log.length).toBe(before)
  network.assertClean()
})

test('a request that waits for the first nonce when the session is signed out is not sent (REV-06, J22)', async () => {
  const { network, client, session } = await signedIn()
  const first = faults.hold({ after: true })
  network.on(at.resource, first.handler, { times: 1 })
  const calls = [session.fetch(PING), session.fetch(PING)].map((call) => failureOf(network, call))
  await first.reached
  await client.signOut()
  first.release()
  for (const call of calls) expect(await call).toMatchObject({ code: 'session_ended', reason: 'signed_out' })
  expect(network.count(at.resource)).toBe(1)
  network.assertClean()
})

describe('although storage fails, the server is told', () => {
  test('when what was stored is gone (REV-01, N12)', async () => {
    const { network, namespace, client } = await signedInBrowser()
    await removeRow(namespace, ALICE.did)
    await client.signOut()
    expect(client.accounts).toEqual([])
    expect(network.sessionAlive(ALICE.did)).toBe(false)
  })

  const full = () => {
    throw new DOMException('Full', 'QuotaExceededError')
  }

  test('when nothing can be added, and what was stored is removed (REV-01, K11)', async () => {
    const { network, namespace, client } = await signedInBrowser()
    const put = vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(full)
    await client.signOut()
    put.mockRestore()
    expect(client.accounts).toEqual([])
    expect(await readRow(namespace, ALICE.did)).toBeUndefined()
    expect(network.sessionAlive(ALICE.did)).toBe(false)
  })

  test('when nothing can be changed, which the app learns (REV-01, K11)', async () => {
    const { network, client } = await signedInBrowser()
    const put = vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(full)
    const remove = vi.spyOn(IDBObjectStore.prototype, 'delete').mockImplementation(full)
    const error = await failureOf(network, client.signOut())
    put.mockRestore()
    remove.mockRestore()
    expect(error.code).toBe('storage_failed')
    expect(client.accounts).toEqual([])
    expect(network.sessionAlive(ALICE.did)).toBe(false)
  })
})

test('is not forgotten by tabs that hear of it a week later (L05, L06)', async () => {
  const { network, openClient, openTab, client } = await signedInBrowser()
  vi.stubGlobal('BroadcastChannel', undefined)
  const asleep = await openTab()
  vi.unstubAllGlobals()
  network.on(at.revoke, faults.unreachable())
  await client.signOut()
  network.clock.advance(7 * 24 * HOUR)
  await openClient().initialize()
  expect((await failureOf(network, asleep.session.fetch(PING))).code).toBe('session_ended')
  const next = openClient()
  await next.initialize()
  expect(next.accounts).toEqual([])
})
