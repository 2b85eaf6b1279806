import { afterEach, describe, expect, test, vi } from 'vitest'
import { createTestClient, signInTo } from '../support/client.ts'
import type { Handler } from '../support/faults.ts'
import { ALICE, AS, at, BOB, createFakeNetwork, type FakeNetwork, faults, PDS } from '../support/network.ts'
import { failureOf } from './failure.ts'
import { MINUTE, PING, record, SECOND, setNonceMode, signedIn, warm } from './signed-in.ts'

afterEach(() => {
  vi.useRealTimers()
})

const NONCE_MODES = ['shared', 'per-session', 'every-response', 'single-use'] as const

const nonceOf = (request: ReturnType<FakeNetwork['requests']>[number] | undefined): unknown =>
  request?.proof?.payload.nonce

const givenBy = (request: ReturnType<FakeNetwork['requests']>[number] | undefined): unknown =>
  request?.response?.headers.get('dpop-nonce')

test('has no nonce at first contact, and the newest one from then on (DPOP-10)', async () => {
  const network = createFakeNetwork()
  setNonceMode(network, 'every-response')
  const session = await signInTo(network, createTestClient(network), ALICE.handle)
  for (let request = 0; request < 4; request++) await session.fetch(PING)
  const [first, ...later] = network.requests(at.resource)
  expect(first?.proof?.payload).not.toHaveProperty('nonce')
  expect(later).toHaveLength(4)
  let previous = first
  for (const request of later) {
    expect(nonceOf(request)).toBe(givenBy(previous))
    previous = request
  }
  network.assertClean()
})

test.each([200, 201, 400, 401, 403, 404, 429, 500, 503])(
  'learns the nonce of an answer of status %i (DPOP-11)',
  async (status) => {
    const { network, session } = await warm({ nonces: 'every-response' })
    network.on(at.resource, faults.changeStatus(status), { times: 1 })
    expect((await session.fetch(PING)).status).toBe(status)
    await session.fetch(PING)
    const [given, used] = network.requests(at.resource).slice(-2)
    expect(nonceOf(used)).toBe(givenBy(given))
    expect(nonceOf(used)).not.toBe(nonceOf(given))
    network.assertClean()
  },
)

test.each([400, 403, 429, 500])(
  'learns the nonce of a refresh that failed with %i (DPOP-11)',
  async (status) => {
    const { network, session } = await signedIn({ nonces: 'every-response' })
    network.on(at.refresh, faults.oauthError('server_error', { status }), { times: 1 })
    await failureOf(network, session.refresh())
    network.on(at.refresh, faults.answer({ error: 'server_error' }, { status: 500 }), { times: 1 })
    await failureOf(network, session.refresh())
    const [given, used] = network.requests(at.refresh)
    expect(nonceOf(used)).toBe(givenBy(given))
  },
)

test('keeps the nonces of the authorization server and of the PDS apart (DPOP-12)', async () => {
  const { network, session } = await warm()
  await session.refresh()
  await session.fetch(PING)
  const given = (origin: string) =>
    new Set(network.requests({ origin }).flatMap((request) => givenBy(request) ?? []))
  expect(nonceOf(network.requests(at.refresh)[0])).toSatisfy((nonce) => given(AS).has(nonce))
  expect(nonceOf(network.requests(at.resource).at(-1))).toSatisfy((nonce) => given(PDS).has(nonce))
  expect(network.count(at.refresh)).toBe(1)
  network.assertClean()
})

test('shares the nonce where PDS and authorization server have one origin (DPOP-12)', async () => {
  const { network, session } = await signedIn({ standalone: true })
  expect((await session.fetch(PING)).status).toBe(200)
  expect(network.count(at.resource)).toBe(1)
  network.assertClean()
})

test('keeps the nonces of two accounts on one server apart (DPOP-13, J21)', async () => {
  const network = createFakeNetwork()
  setNonceMode(network, 'per-session')
  const client = createTestClient(network)
  const sessions = [
    await signInTo(network, client, ALICE.handle),
    await signInTo(network, client, BOB.handle),
  ]
  for (const session of sessions) await session.fetch(PING)
  const before = network.log.length
  for (let round = 0; round < 5; round++) {
    for (const session of sessions) expect((await session.fetch(PING)).status).toBe(200)
  }
  expect(network.log.length - before).toBe(10)
  network.assertClean()
})

describe('an authorization server asks for a nonce', () => {
  test('by 400 and use_dpop_nonce, and gets the same request once more (DPOP-14, DPOP-17)', async () => {
    const { network, session } = await signedIn()
    network.on(at.refresh, faults.demandNonce(), { times: 1 })
    await session.refresh().catch(() => {})
    const [refused, repeated] = network.requests(at.refresh)
    expect(network.count(at.refresh)).toBe(2)
    expect(nonceOf(repeated)).toBe(givenBy(refused))
    expect(repeated?.text).toBe(refused?.text)
    expect(repeated?.proof?.payload.jti).not.toBe(refused?.proof?.payload.jti)
  })

  test.each([
    ['another error', faults.oauthError('invalid_request')],
    ['a web page', faults.text('{"error":"use_dpop_nonce"}', 'text/html', 400)],
    ['a success', faults.answer({ error: 'use_dpop_nonce' }, { headers: { 'dpop-nonce': 'new' } })],
    ['no new nonce', faults.answer({ error: 'use_dpop_nonce' }, { status: 400 })],
  ])('but not by %s (DPOP-14)', async (_name, handler) => {
    const { network, session } = await signedIn()
    network.on(at.refresh, handler, { times: 1 })
    await failureOf(network, session.refresh())
    expect(network.count(at.refresh)).toBe(1)
  })

  test('endlessly: the second demand is an error, and the session stays (DPOP-17, REF-07)', async () => {
    const { network, session } = await signedIn()
    const loop = network.on(at.refresh, faults.nonceLoop())
    const error = await failureOf(network, session.refresh())
    expect(error).toMatchObject({ code: 'dpop_rejected', oauthError: 'use_dpop_nonce' })
    expect(network.count(at.refresh)).toBe(2)
    loop.off()
    await session.refresh()
    expect(session.status).toBe('active')
  })
})

describe('a PDS asks for a nonce', () => {
  const challenge = (header: string | null, body: unknown = {}) =>
    faults.answer(body, {
      status: 401,
      headers: { 'dpop-nonce': 'freshfreshfresh', ...(header !== null && { 'www-authenticate': header }) },
    })

  test.each([
    'DPoP error="use_dpop_nonce"',
    'dpop error="use_dpop_nonce"',
    'DPoP algs="ES256", error="use_dpop_nonce"',
    'DPoP error="use_dpop_nonce", algs="ES256 ES256K", error_description="a \\"fresh\\" nonce, please"',
    'Bearer realm="x", DPoP error="use_dpop_nonce"',
    'Bearer, DPoP algs="ES256", error="use_dpop_nonce"',
    'DPoP error="use_dpop_nonce", Bearer realm="x", error="invalid_token"',
    'Basic realm="a, DPoP error=\\"invalid_token\\"", DPoP error="use_dpop_nonce"',
    'DPoP error=use_dpop_nonce',
    'DPoP algs = "ES256" , error = "use_dpop_nonce"',
    'DPoP ERROR="use_dpop_nonce"',
  ])('by %s (DPOP-15, RS-04, J12)', async (header) => {
    const { network, session } = await warm()
    network.on(at.resource, challenge(header), { times: 1 })
    const before = network.count(at.resource)
    // The nonce made up here is not the server's, which says so; that answer is the app's.
    expect((await session.fetch(PING)).status).toBe(401)
    const [refused, repeated, ...more] = network.requests(at.resource).slice(before)
    expect(more).toEqual([])
    expect(nonceOf(repeated)).toBe('freshfreshfresh')
    expect(repeated?.proof?.payload.jti).not.toBe(refused?.proof?.payload.jti)
  })

  test.each([
    'Bearer error="use_dpop_nonce"',
    'Bearer realm="DPoP error=\\"use_dpop_nonce\\""',
    'DPoP error="invalid_request", Bearer error="use_dpop_nonce"',
    'DPoPX error="use_dpop_nonce"',
    'DPoP realm="use_dpop_nonce"',
    'use_dpop_nonce',
  ])('but not by %s (DPOP-15)', async (header) => {
    const { network, session } = await warm()
    network.on(at.resource, challenge(header), { times: 1 })
    const before = network.count(at.resource)
    expect((await session.fetch(PING)).status).toBe(401)
    expect(network.count(at.resource) - before).toBe(1)
  })

  test('in the body alone, where CORS hides the challenge (DPOP-16, J13)', async () => {
    const { network, session } = await signedIn()
    network.on(at.resource, faults.changeHeaders({ 'www-authenticate': null }))
    expect((await session.fetch(PING)).status).toBe(200)
    expect(network.count(at.resource)).toBe(2)
    network.assertClean()
  })

  test('with nothing readable: its answer is handed on, and the missing nonce reported (DPOP-16, J13)', async () => {
    const { network, client, session } = await signedIn()
    const { diagnostics } = record(client)
    network.on(at.resource, faults.changeHeaders({ 'www-authenticate': null, 'dpop-nonce': null }))
    const response = await session.fetch(PING)
    expect(response.status).toBe(401)
    expect(await response.json()).toMatchObject({ error: 'use_dpop_nonce' })
    expect(network.count(at.resource)).toBe(1)
    expect(diagnostics).toContainEqual(expect.objectContaining({ code: 'nonce_missing' }))
  })

  test('endlessly: after one repeat its answer is handed on (DPOP-17)', async () => {
    const { network, session } = await warm()
    const before = network.count(at.resource)
    network.on(at.resource, faults.nonceLoop())
    const response = await session.fetch(PING)
    expect(response.status).toBe(401)
    expect(await response.json()).toMatchObject({ error: 'use_dpop_nonce' })
    const proofs = network.requests(at.resource).slice(before)
    expect(proofs).toHaveLength(2)
    expect(new Set(proofs.map(({ proof }) => proof?.payload.jti)).size).toBe(2)
  })

  test('in an answer that stalls, which is not waited for long (DPOP-16, J13)', async () => {
    const { network, session } = await warm()
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const stalled = async (...call: Parameters<Handler>) => {
      const { body, headers } = await faults.stalledBody()(...call)
      return new Response(body, { status: 401, headers })
    }
    network.on(at.resource, stalled, { times: 1 })
    const response = session.fetch(PING)
    const asked = network.count(at.resource) + 1
    await network.settled(at.resource, asked)
    for (let second = 0; second < 15; second++) await vi.advanceTimersByTimeAsync(SECOND)
    expect((await response).status).toBe(401)
  })

  test('in a long answer, of which only the beginning is read (DPOP-16, J13)', async () => {
    const { network, session } = await warm()
    let chunks = 0
    const pull = (controller: ReadableStreamDefaultController<Uint8Array>) => {
      if (chunks++ < 1024) controller.enqueue(new Uint8Array(1024).fill(32))
      else controller.close()
    }
    const long = () =>
      new Response(new ReadableStream({ pull }, { highWaterMark: 0 }), {
        status: 401,
        headers: { 'content-type': 'application/json' },
      })
    network.on(at.resource, long, { times: 1 })
    const response = await session.fetch(PING)
    expect(response.status).toBe(401)
    expect(network.log.at(-1)?.bytesDelivered).toBeLessThan(64 * 1024)
    expect((await response.arrayBuffer()).byteLength).toBe(1024 * 1024)
  })
})

test.each([
  ['a space', 'a nonce'],
  ['quotes', 'a"nonce"'],
  ['a backslash', 'a\\\\nonce'],
  ['other letters', 'n\u00f6nce'],
  ['no end', 'n'.repeat(513)],
])('a nonce with %s is none: the one before is kept (DPOP-10, DPOP-11)', async (_name, nonce) => {
  const { network, session } = await warm()
  network.on(at.resource, faults.changeHeaders({ 'dpop-nonce': nonce }), { times: 1 })
  await session.fetch(PING)
  expect((await session.fetch(PING)).status).toBe(200)
  const [first, second] = network.requests(at.resource).slice(-2)
  expect(nonceOf(second)).toBe(nonceOf(first))
  network.assertClean()
})

describe('an answer without a nonce', () => {
  test('refuses a pushed request: nothing is lost with it (DPOP-19)', async () => {
    const network = createFakeNetwork()
    network.on(at.par, faults.answer({ request_uri: 'urn:example:1', expires_in: 300 }, { status: 201 }))
    const error = await failureOf(network, createTestClient(network).authorize(ALICE.handle))
    expect(error.code).toBe('response_invalid')
  })

  test('to a code or a refresh is reported, and its tokens are used (DPOP-19)', async () => {
    const network = createFakeNetwork()
    const client = createTestClient(network)
    const { diagnostics } = record(client)
    network.on(at.token, faults.noNonce())
    const session = await signInTo(network, client, ALICE.handle)
    await session.refresh()
    expect((await session.fetch(PING)).status).toBe(200)
    expect(diagnostics).toContainEqual(expect.objectContaining({ code: 'nonce_missing' }))
    network.assertClean()
  })

  test('of a public method is delivered (DPOP-19)', async () => {
    const { network, session } = await signedIn()
    const response = await session.fetch('/xrpc/com.atproto.server.describeServer')
    expect(response.status).toBe(200)
    expect(network.count(at.resource)).toBe(1)
    network.assertClean()
  })
})

test.each([
  [1 * MINUTE, 1],
  [110 * SECOND, 1],
  [4 * MINUTE, 2],
  [10 * MINUTE, 2],
])('%i ms after the last answer a request takes %i round(s) and succeeds (DPOP-24)', async (idle, rounds) => {
  const { network, session } = await warm()
  const before = network.log.length
  network.clock.advance(idle)
  expect((await session.fetch(PING)).status).toBe(200)
  expect(network.log.length - before).toBeLessThanOrEqual(rounds)
  network.assertClean()
})

describe('of ten requests at once one goes ahead', () => {
  test.each([
    ['at first contact', signedIn, 0],
    ['when the nonce has gone stale', warm, 10 * MINUTE],
    ['when the nonce is about to go stale', warm, 3 * MINUTE],
  ])('%s (DPOP-25)', async (_name, start, idle) => {
    const { network, session } = await start()
    network.clock.advance(idle)
    const before = network.log.length
    const responses = await Promise.all(Array.from({ length: 10 }, () => session.fetch(PING)))
    expect(responses.map(({ status }) => status)).toEqual(Array(10).fill(200))
    expect(network.log.length - before).toBeLessThanOrEqual(11)
    network.assertClean()
  })

  test('after the first request of all never arrived (DPOP-25)', async () => {
    const { network, session } = await signedIn()
    network.on(at.resource, faults.unreachable(), { times: 1 })
    await failureOf(network, session.fetch(PING))
    const before = network.log.length
    await Promise.all(Array.from({ length: 10 }, () => session.fetch(PING)))
    expect(network.log.length - before).toBeLessThanOrEqual(11)
  })

  test('and is not waited for when it hangs (DPOP-25, I19)', async () => {
    const { network, session } = await signedIn()
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const first = faults.hold()
    network.on(at.resource, first.handler, { times: 1 })
    const stuck = session.fetch(PING)
    await first.reached
    const second = session.fetch(PING)
    await vi.waitFor(() => expect(vi.getTimerCount()).toBeGreaterThan(0))
    await vi.advanceTimersByTimeAsync(2 * SECOND)
    expect((await second).status).toBe(200)
    first.release()
    expect((await stuck).status).toBe(200)
    network.assertClean()
  })
})

describe.each(NONCE_MODES)('where nonces are %s', (mode) => {
  test('a whole life works, one request after the other (DPOP-10, DPOP-12)', async () => {
    const network = createFakeNetwork()
    setNonceMode(network, mode)
    const client = createTestClient(network)
    const session = await signInTo(network, client, ALICE.handle)
    for (let request = 0; request < 10; request++) {
      expect((await session.fetch(PING)).status).toBe(200)
      network.clock.advance(20 * SECOND)
    }
    await session.refresh()
    expect((await session.fetch(PING)).status).toBe(200)
    await client.signOut()
    expect(network.sessionAlive(ALICE.did)).toBe(false)
    network.assertClean()
  })

  test('twenty requests at once succeed, each after two attempts at most (DPOP-17)', async () => {
    const { network, session } = await signedIn({ nonces: mode })
    network.pds.world.nonces(PDS).rotate()
    const before = network.log.length
    const responses = await Promise.all(Array.from({ length: 20 }, () => session.fetch(PING)))
    expect(responses.map(({ status }) => status)).toEqual(Array(20).fill(200))
    expect(network.log.length - before).toBeLessThanOrEqual(40)
    network.assertClean()
  })
})
