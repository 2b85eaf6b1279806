import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { OAuthClient } from '../../src/index.ts'
import { createTestClient, signInTo } from '../support/client.ts'
import {
  ALICE,
  AS,
  at,
  CLIENT_ID,
  callbackParameters,
  createFakeNetwork,
  EVIL,
  type FakeNetwork,
  faults,
  REDIRECT_URI,
} from '../support/network.ts'
import { expectNobodySignedIn, failureOf } from './failure.ts'

let network: FakeNetwork
let client: OAuthClient
beforeEach(() => {
  network = createFakeNetwork()
  client = createTestClient(network)
})
afterEach(() => {
  vi.useRealTimers()
  network.assertClean()
})

const signIn = () => signInTo(network, client, ALICE.handle)
const exchanges = () => network.requests(at.exchange)

/** How the exchange fails: nobody is signed in, no event says otherwise, and the code went out once. */
async function refusal() {
  const events: unknown[] = []
  client.on('session', (event) => events.push(event))
  const error = await failureOf(network, signIn())
  expect(client.accounts).toEqual([])
  expect(client.session).toBeUndefined()
  expect(events).toEqual([])
  expect(network.count(at.evil)).toBe(0)
  return error
}

describe('the token request', () => {
  test('carries code, verifier, client, redirect URI and a proof, in a form (TOK-01)', async () => {
    const { url } = await client.authorize(ALICE.handle)
    const callback = network.approve(url)
    await client.handleCallback(callback)
    const [request, ...others] = exchanges()
    expect(request).toMatchObject({ method: 'POST', url: `${AS}/oauth/token` })
    expect(request?.headers.get('content-type')).toBe('application/x-www-form-urlencoded')
    expect(request?.form).toEqual({
      grant_type: 'authorization_code',
      code: callbackParameters(callback).get('code'),
      code_verifier: expect.stringMatching(/^[\w-]{43}$/),
      redirect_uri: REDIRECT_URI,
      client_id: CLIENT_ID,
    })
    expect(request?.proof?.jkt).toBe(network.requests(at.par)[0]?.form.dpop_jkt)
    expect(others).toHaveLength(0)
  })

  test('is repeated with the same code for a nonce, once (TOK-03, TOK-02, H14)', async () => {
    network.as.nonces.mode = 'every-response'
    network.on(at.exchange, faults.demandNonce(network.as.nonces.next(undefined)), { times: 1 })
    expect((await signIn()).did).toBe(ALICE.did)
    const [first, second, ...others] = exchanges()
    expect(second?.form).toEqual(first?.form)
    expect(second?.proof?.payload.nonce).toBe(first?.response?.headers.get('dpop-nonce'))
    expect(second?.proof?.payload.jti).not.toBe(first?.proof?.payload.jti)
    expect(others).toHaveLength(0)
  })

  test('is repeated once for a nonce that has become stale meanwhile (TOK-03, H14)', async () => {
    const { url } = await client.authorize(ALICE.handle)
    network.as.nonces.rotate()
    expect((await client.handleCallback(network.approve(url))).did).toBe(ALICE.did)
    expect(exchanges()).toHaveLength(2)
  })

  test('is not repeated a second time for a nonce (TOK-02, H14)', async () => {
    network.on(at.exchange, faults.nonceLoop())
    expect(await refusal()).toMatchObject({ code: 'dpop_rejected', oauthError: 'use_dpop_nonce' })
    expect(exchanges()).toHaveLength(2)
  })

  test.each([
    ['no nonce', null],
    ['an endless nonce', 'n'.repeat(8192)],
    ['a nonce with spaces', 'a b'],
  ])('is not repeated when %s comes with the challenge (TOK-02, F07)', async (_name, nonce) => {
    network.on(at.exchange, faults.demandNonce(nonce))
    expect(await refusal()).toMatchObject({ code: 'dpop_rejected' })
    expect(exchanges()).toHaveLength(1)
  })
})

describe('the code', () => {
  test.each([
    ['the request is lost', faults.unreachable(), 'network_failed'],
    ['the answer is lost', faults.loseAnswer(), 'network_failed'],
    ['the answer breaks off', faults.truncatedBody(20), 'network_failed'],
    ['the server is down', faults.status(503), 'token_request_failed'],
    ['there are too many requests', faults.status(429, {}, { 'retry-after': '1' }), 'token_request_failed'],
    ['a proxy answers', faults.html(502), 'token_request_failed'],
    ['it is refused', faults.oauthError('invalid_grant'), 'token_request_failed'],
  ])('is sent once, though %s (TOK-02)', async (_name, handler, code) => {
    network.on(at.exchange, handler)
    expect(await refusal()).toMatchObject({ code })
    expect(exchanges()).toHaveLength(1)
  })

  test('is not sent again, and the sign-in can be begun anew (TOK-02)', async () => {
    const fault = network.on(at.exchange, faults.loseAnswer())
    await refusal()
    fault.off()
    expect((await signIn()).did).toBe(ALICE.did)
    const codes = exchanges().map(({ form }) => form.code)
    expect(new Set(codes).size).toBe(2)
  })

  test('is not sent again when the server takes more than thirty seconds (TOK-02)', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const gate = faults.hold()
    network.on(at.exchange, gate.handler)
    const failing = refusal()
    await gate.reached
    await vi.advanceTimersByTimeAsync(29_000)
    expect(exchanges()[0]?.outcome).toBe('open')
    await vi.advanceTimersByTimeAsync(1_000)
    expect(await failing).toMatchObject({ code: 'timed_out' })
    expect(exchanges()).toHaveLength(1)
  })

  test.each([301, 302, 303, 307, 308])('does not follow a redirect by %i (H13, TOK-04)', async (status) => {
    network.on(at.exchange, faults.redirectTo(`${EVIL}/oauth/token`, status))
    expect(await refusal()).toMatchObject({ code: 'response_invalid' })
    expect(exchanges()).toHaveLength(1)
    expect(exchanges()[0]?.redirect).toBe('manual')
  })
})

describe('an answer that is not one', () => {
  test.each([
    ['HTML', faults.changeHeaders({ 'content-type': 'text/html' })],
    ['plain text', faults.changeHeaders({ 'content-type': 'text/plain' })],
    ['of no type', faults.changeHeaders({ 'content-type': '' })],
    ['an array', faults.changeJson((body) => [body])],
    ['null', faults.changeJson(() => null)],
    ['a number', faults.changeJson(() => 7)],
    ['empty', faults.text('', 'application/json')],
    ['half a document', faults.text('{"access_token":"', 'application/json')],
  ])('is refused: %s (TOK-04)', async (_name, handler) => {
    network.on(at.exchange, handler)
    expect(await refusal()).toMatchObject({ code: 'token_response_invalid', issuer: AS })
  })

  test.each([201, 202, 206])('is refused with status %i (TOK-04)', async (status) => {
    network.on(at.exchange, faults.changeStatus(status))
    expect(await refusal()).toMatchObject({ code: 'token_response_invalid' })
    expectNobodySignedIn(network, client)
  })

  test('is not read past its limit (TOK-04)', async () => {
    network.on(at.exchange, faults.endlessBody())
    expect(await refusal()).toMatchObject({ code: 'response_invalid' })
    expect(exchanges()[0]?.bodyCancelled).toBe(true)
    expect(exchanges()[0]?.bytesDelivered).toBeLessThan(80_000)
  })

  test('may have parameters to its type (TOK-04)', async () => {
    network.on(at.exchange, faults.changeHeaders({ 'content-type': 'application/json; charset=utf-8' }))
    expect((await signIn()).did).toBe(ALICE.did)
  })
})
