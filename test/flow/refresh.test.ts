import { describe, expect, test } from 'vitest'
import { createTestClient, signInTo } from '../support/client.ts'
import type { Handler } from '../support/faults.ts'
import { ALICE, AS, at, CLIENT_ID, createFakeNetwork, faults } from '../support/network.ts'
import { failureOf } from './failure.ts'
import { HOUR, MINUTE, PING, record, refreshes, SECOND, signedIn, warm } from './signed-in.ts'

/** What is refused is revoked: the tokens just issued. */
function expectRevoked(network: ReturnType<typeof createFakeNetwork>, token: string | undefined): void {
  expect(token).toEqual(expect.any(String))
  const sent = network.requests(at.revoke).map(({ form }) => form.token)
  expect(sent).toContain(token)
  expect(network.sessionAlive(ALICE.did)).toBe(false)
}

/** Tokens of the last answer of the honest server, before it was changed. */
function issue(change: (answer: Record<string, unknown>) => unknown) {
  const issued: { token: string | undefined } = { token: undefined }
  const handler = faults.changeJson((answer) => {
    issued.token = answer.refresh_token
    return change(answer)
  })
  return { issued, handler }
}

test('refreshes with the refresh token, the client and the key of the session, and nothing else (REF-01)', async () => {
  const { network, session } = await signedIn()
  const [before] = network.sessions().map(({ refreshToken, jkt }) => ({ refreshToken, jkt }))
  await session.refresh()
  const [request] = network.requests(at.refresh)
  expect(request).toMatchObject({
    method: 'POST',
    url: `${AS}/oauth/token`,
    form: { grant_type: 'refresh_token', refresh_token: before?.refreshToken, client_id: CLIENT_ID },
  })
  expect(Object.keys(request?.form ?? {})).toHaveLength(3)
  expect(request?.headers.get('content-type')).toMatch(/^application\/x-www-form-urlencoded/)
  expect(request?.proof?.jkt).toBe(before?.jkt)
  network.assertClean()
})

test('never sends a refresh token again once it was answered (REF-02, I01)', async () => {
  const { network, session } = await warm()
  for (let hour = 0; hour < 5; hour++) {
    network.clock.advance(HOUR)
    expect((await session.fetch(PING)).status).toBe(200)
  }
  const answered = network.requests({ ...at.refresh, where: ({ response }) => response?.status === 200 })
  const sent = answered.map(({ form }) => form.refresh_token)
  expect(sent).toHaveLength(5)
  expect(new Set(sent).size).toBe(5)
  network.assertClean()
})

test('sends nothing but the token request (I04)', async () => {
  const { network, session } = await signedIn()
  const before = network.log.length
  await session.refresh()
  expect(network.log.slice(before).map(({ url }) => url)).toEqual([`${AS}/oauth/token`])
})

test('keeps the refresh token when the answer brings no other (REF-03, I10)', async () => {
  const { network, session } = await signedIn()
  const [server] = network.sessions()
  const kept = server?.refreshToken
  const withoutRotation: Handler = () => {
    const token = 'AT-issued-without-rotation-1234567890'
    if (server) server.accessToken = token
    return faults.answer({
      access_token: token,
      token_type: 'DPoP',
      scope: 'atproto',
      expires_in: 60,
      sub: ALICE.did,
    })(network.log[0] as never, async () => new Response())
  }
  network.on(at.refresh, withoutRotation, { times: 1 })
  await session.refresh()
  await session.refresh()
  expect(network.requests(at.refresh).map(({ form }) => form.refresh_token)).toEqual([kept, kept])
  expect((await session.fetch(PING)).status).toBe(200)
  network.assertClean()
})

test('asks once for fifty calls that need a new token (REF-04, I02)', async () => {
  const { network, session } = await warm()
  network.clock.advance(2 * HOUR)
  const calls = [
    ...Array.from({ length: 50 }, () => session.fetch(PING)),
    session.refresh(),
    session.refresh(),
  ]
  for (const answer of await Promise.all(calls)) if (answer) expect(answer.status).toBe(200)
  expect(refreshes(network)).toBe(1)
  network.assertClean()
})

describe('an answer to a refresh', () => {
  test.each<[string, unknown]>([
    ['another account', 'did:plc:bobbobbobbobbobbobbobbob'],
    ['the same in another case', ALICE.did.toUpperCase()],
    ['no account', undefined],
    ['a list', [ALICE.did]],
    ['an empty name', ''],
  ])('for %s ends the session and is revoked (REF-09, I08)', async (_name, sub) => {
    const { network, client, session } = await signedIn()
    const { sessions } = record(client)
    const { issued, handler } = issue((answer) => ({ ...answer, sub }))
    network.on(at.refresh, handler)
    const error = await failureOf(network, session.refresh())
    expect(error).toMatchObject({ code: 'session_ended', reason: 'subject_changed', did: ALICE.did })
    expect(session.status).toBe('revoked')
    expect(sessions.at(-1)).toMatchObject({ did: ALICE.did, status: 'revoked' })
    expectRevoked(network, issued.token)
    const before = network.log.length
    expect((await failureOf(network, session.fetch(PING))).code).toBe('session_ended')
    expect(network.log.length).toBe(before)
    network.assertClean()
  })

  test.each<[string, unknown]>([
    ['without atproto', 'transition:generic'],
    ['with words that only contain it', 'atproto:x xatproto'],
    ['that is empty', ''],
    ['that is missing', undefined],
  ])('with a scope %s ends the session and is revoked (REF-09, I09)', async (_name, scope) => {
    const { network, session } = await signedIn()
    const { issued, handler } = issue((answer) => ({ ...answer, scope }))
    network.on(at.refresh, handler)
    expect(await failureOf(network, session.refresh())).toMatchObject({
      code: 'session_ended',
      did: ALICE.did,
    })
    expect(session.status).toBe('revoked')
    expectRevoked(network, issued.token)
    network.assertClean()
  })

  test.each([
    ['less', 'atproto'],
    ['more', 'atproto transition:generic transition:chat.bsky'],
  ])('that grants %s is kept and reported (I09, TOK-07)', async (_name, scope) => {
    const { network, client, session } = await signedIn()
    const { diagnostics } = record(client)
    const before = session.scope
    network.on(at.refresh, issue((answer) => ({ ...answer, scope })).handler)
    await session.refresh()
    expect(session.scope).toBe(scope)
    expect(client.accounts[0]?.scope).toBe(scope)
    expect(diagnostics).toContainEqual({ code: 'scope_changed', did: ALICE.did, before, after: scope })
    expect((await session.fetch(PING)).status).toBe(200)
    network.assertClean()
  })

  test.each<[string, unknown]>([
    ['Bearer', 'Bearer'],
    ['no type', undefined],
    ['a number', 1],
  ])('of the token type %s ends the session and is revoked (REF-09, I11)', async (_name, type) => {
    const { network, session } = await signedIn()
    const { issued, handler } = issue((answer) => ({ ...answer, token_type: type }))
    network.on(at.refresh, handler)
    expect(await failureOf(network, session.refresh())).toMatchObject({
      code: 'session_ended',
      did: ALICE.did,
    })
    expect(session.status).toBe('revoked')
    expectRevoked(network, issued.token)
    network.assertClean()
  })

  test('may spell the type in any case (REF-09)', async () => {
    const { network, session } = await signedIn()
    network.on(at.refresh, issue((answer) => ({ ...answer, token_type: 'dpop' })).handler)
    await session.refresh()
    expect(session.status).toBe('active')
  })

  test.each<[string, (answer: Record<string, unknown>) => unknown]>([
    ['has no access token', ({ access_token: _, ...rest }) => rest],
    ['has an empty access token', (answer) => ({ ...answer, access_token: '' })],
    ['has an access token that breaks the header', (answer) => ({ ...answer, access_token: 'a\r\nx: y' })],
    ['is a list', () => []],
    ['is null', () => null],
    ['has its members in a prototype', (answer) => ({ ['__proto__']: answer, sub: ALICE.did })],
  ])('that %s is refused, and the session stays (REF-07, STO-12, O03)', async (_name, change) => {
    const { network, client, session } = await signedIn()
    const { expiresAt } = session
    network.on(at.refresh, issue(change).handler)
    expect((await failureOf(network, session.refresh())).code).toBe('token_response_invalid')
    expect(session.expiresAt).toBe(expiresAt)
    expect(client.session).toBe(session)
    expect(session.status).not.toBe('revoked')
  })
})

describe('when a refresh is due', () => {
  test('a request waits for it (REF-11)', async () => {
    const { network, session } = await warm()
    network.clock.advance(HOUR)
    expect((await session.fetch(PING)).status).toBe(200)
    const { accessToken } = network.log.at(-1) ?? {}
    expect(accessToken).toBe(network.sessions()[0]?.accessToken)
    expect(network.count({ ...at.resource, where: ({ response }) => response?.status === 401 })).toBeLessThan(
      3,
    )
    network.assertClean()
  })

  test('a session without a refresh token has ended (REF-11)', async () => {
    const network = createFakeNetwork()
    network.on(
      at.exchange,
      faults.changeJson(({ refresh_token: _, ...answer }) => answer),
    )
    const session = await signInTo(network, createTestClient(network), ALICE.handle)
    expect((await session.fetch(PING)).status).toBe(200)
    network.clock.advance(HOUR)
    const before = network.log.length
    expect(session.status).toBe('expired')
    expect(await failureOf(network, session.fetch(PING))).toMatchObject({
      code: 'session_ended',
      reason: 'expired',
    })
    expect(await failureOf(network, session.refresh())).toMatchObject({
      code: 'session_ended',
      reason: 'expired',
    })
    expect(network.log.length).toBe(before)
    network.assertClean()
  })
})

describe('a lifetime of', () => {
  test.each<[unknown, number]>([
    [1, SECOND],
    [300, 300 * SECOND],
    [3599, 3599 * SECOND],
    ['300', 300 * SECOND],
    [86_400, 24 * HOUR],
  ])('%j is taken as told (REF-11, TOK-12)', async (expiresIn, lifetime) => {
    const network = createFakeNetwork()
    network.as.settings.accessTokenLifetime = lifetime / SECOND
    network.on(
      at.token,
      faults.changeJson((answer) => ({ ...answer, expires_in: expiresIn })),
    )
    const session = await signInTo(network, createTestClient(network), ALICE.handle)
    expect(session.expiresAt).toBe(network.clock.now() + lifetime)
    expect((await session.fetch(PING)).status).toBe(200)
    expect(refreshes(network)).toBe(0)
    network.clock.advance(lifetime)
    expect((await session.fetch(PING)).status).toBe(200)
    expect(refreshes(network)).toBe(1)
    expect(session.expiresAt).toBe(network.clock.now() + lifetime)
    network.assertClean()
  })

  test.each<[unknown]>([[undefined], [null], [0], [-5], [1.5], [1e9], ['soon'], [[60]]])(
    '%j tells nothing: the token is used until it is refused (REF-11, TOK-12)',
    async (expiresIn) => {
      const network = createFakeNetwork()
      network.on(
        at.token,
        faults.changeJson((answer) => ({ ...answer, expires_in: expiresIn })),
      )
      const session = await signInTo(network, createTestClient(network), ALICE.handle)
      expect(session.expiresAt).toBeUndefined()
      network.clock.advance(30 * MINUTE)
      expect((await session.fetch(PING)).status).toBe(200)
      expect(refreshes(network)).toBe(0)
      network.clock.advance(HOUR)
      expect((await session.fetch(PING)).status).toBe(200)
      expect(refreshes(network)).toBe(1)
      network.assertClean()
    },
  )
})
