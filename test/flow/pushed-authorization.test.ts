import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createTestClient, signInTo } from '../support/client.ts'
import {
  ALICE,
  APP,
  AS,
  at,
  CLIENT_ID,
  createFakeNetwork,
  EVIL,
  type FakeNetwork,
  faults,
  PDS,
} from '../support/network.ts'
import { failureOf } from './failure.ts'

let network: FakeNetwork
beforeEach(() => {
  network = createFakeNetwork()
})
afterEach(() => {
  vi.useRealTimers()
  network.assertClean()
})

const authorize = () => createTestClient(network).authorize(ALICE.handle)
const refusal = () => failureOf(network, authorize())
const pushes = () => network.requests(at.par)
const insisting = () => {
  network.as.settings.requireProofAtPar = true
}

describe('the request', () => {
  test('carries all parameters in a form, none in the address (PAR-01, PAR-02)', async () => {
    const { url } = await authorize()
    const [request] = pushes()
    expect(request).toMatchObject({ method: 'POST', url: `${AS}/oauth/par` })
    expect(request?.headers.get('content-type')).toBe('application/x-www-form-urlencoded')
    expect(request?.form).toMatchObject({ client_id: CLIENT_ID, response_type: 'code' })
    expect(request?.form).not.toHaveProperty('request_uri')
    const { origin, pathname, searchParams } = new URL(url)
    expect(origin + pathname).toBe(`${AS}/oauth/authorize`)
    expect([...searchParams.keys()].sort()).toEqual(['client_id', 'request_uri'])
    expect(searchParams.get('client_id')).toBe(CLIENT_ID)
  })

  test('carries no header but Accept and Content-Type, and so needs no preflight (PAR-10)', async () => {
    await authorize()
    expect([...(pushes()[0]?.headers.keys() ?? [])].sort()).toEqual(['accept', 'content-type'])
  })

  test('names the key of the session, which the code is then redeemed with (PAR-06)', async () => {
    const session = await signInTo(network, createTestClient(network), ALICE.handle)
    await session.refresh()
    const { dpop_jkt } = pushes()[0]?.form ?? {}
    expect(dpop_jkt).toMatch(/^[\w-]{43}$/)
    const keys = network.requests(at.token).map(({ proof }) => proof?.jkt)
    expect(keys).toEqual([dpop_jkt, dpop_jkt])
  })

  test('carries a proof by that key, and no other header, where a server insists on one (PAR-06, PAR-10)', async () => {
    insisting()
    await signInTo(network, createTestClient(network), ALICE.handle)
    const [first, second, ...others] = pushes()
    expect(others).toHaveLength(0)
    expect(second?.proof?.jkt).toBe(first?.form.dpop_jkt)
    expect([...(second?.headers.keys() ?? [])].sort()).toEqual(['accept', 'content-type', 'dpop'])
    expect(network.requests(at.exchange)[0]?.proof?.jkt).toBe(second?.proof?.jkt)
  })
})

describe('a nonce challenge', () => {
  test('is answered with the same parameters (PAR-07)', async () => {
    network.on(at.par, faults.demandNonce(network.as.nonces.next(undefined)), { times: 1 })
    await authorize()
    const [first, second, ...others] = pushes()
    const { dpop_jkt: _, ...parameters } = first?.form ?? {}
    expect(second?.form).toMatchObject(parameters)
    expect(second?.proof?.payload.nonce).toBe(first?.response?.headers.get('dpop-nonce'))
    expect(others).toHaveLength(0)
  })

  test('is answered once, however often it comes (PAR-07, F06)', async () => {
    network.on(at.par, faults.nonceLoop())
    expect(await refusal()).toMatchObject({
      code: 'dpop_rejected',
      oauthError: 'use_dpop_nonce',
      status: 400,
    })
    expect(pushes()).toHaveLength(2)
  })

  test('is answered once as well after a server has insisted on a proof (PAR-07, F06)', async () => {
    network.on(
      at.par,
      faults.sequence(
        faults.oauthError('invalid_dpop_proof', { headers: { 'dpop-nonce': '' } }),
        faults.demandNonce(),
        faults.demandNonce(),
        faults.demandNonce(),
      ),
    )
    expect(await refusal()).toMatchObject({ code: 'dpop_rejected' })
    expect(pushes().filter(({ proof }) => proof)).toHaveLength(2)
  })

  test('is understood with status 401 too (F08)', async () => {
    insisting()
    network.as.nonces.mode = 'every-response'
    network.on(
      { ...at.par, where: ({ proof }) => proof !== undefined },
      faults.oauthError('use_dpop_nonce', {
        status: 401,
        headers: { 'dpop-nonce': network.as.nonces.next(undefined) },
      }),
      { times: 1 },
    )
    await expect(authorize()).resolves.toHaveProperty('url')
  })

  test('is understood with status 400 from a PDS too (F08)', async () => {
    const session = await signInTo(network, createTestClient(network), ALICE.handle)
    network.on(at.resource, faults.demandNonce(network.pds.world.nonces(PDS).next(undefined)), { times: 1 })
    network.on(at.resource, faults.changeStatus(400), { times: 1 })
    expect((await session.fetch('/xrpc/dev.signet.echo')).status).toBe(200)
    expect(network.count(at.resource)).toBe(2)
  })

  test.each([
    ['no nonce', null],
    ['an endless nonce', 'n'.repeat(8192)],
    ['a nonce with spaces', 'a b'],
    ['a nonce with a quotation mark', 'a"b'],
  ])('with %s is not answered (F07)', async (_name, nonce) => {
    network.on(
      at.par,
      faults.sequence(faults.oauthError('invalid_dpop_proof', { headers: { 'dpop-nonce': '' } })),
    )
    network.on({ ...at.par, where: ({ proof }) => proof !== undefined }, faults.demandNonce(nonce))
    expect(await refusal()).toMatchObject({ code: 'dpop_rejected' })
    expect(pushes()).toHaveLength(2)
    expect(pushes()[1]?.proof?.payload).not.toHaveProperty('nonce')
  })

  test('with the nonce just used is not answered (F07)', async () => {
    network.on(at.par, faults.oauthError('use_dpop_nonce', { headers: { 'dpop-nonce': 'same' } }))
    expect(await refusal()).toMatchObject({ code: 'dpop_rejected' })
    expect(pushes().map(({ proof }) => proof?.payload.nonce)).toEqual([undefined, 'same'])
  })
})

describe('a success', () => {
  const changed = (change: (body: Record<string, unknown>) => unknown) => faults.changeJson(change)

  test('may be a 200 (F03)', async () => {
    network.on(at.par, faults.changeStatus(200), { times: 1 })
    await expect(authorize()).resolves.toHaveProperty('url')
  })

  test.each([
    ['a 202', faults.changeStatus(202)],
    ['a 204', faults.status(204)],
    ['a 201 in HTML', faults.html(201)],
    ['a 201 of another type', faults.changeHeaders({ 'content-type': 'text/plain' })],
    ['an empty 201', faults.text('', 'application/json', 201)],
    ['an array', changed((body) => [body])],
    ['a 201 without request_uri', changed(({ request_uri: _, ...rest }) => rest)],
    ['a number for a request_uri', changed((body) => ({ ...body, request_uri: 7 }))],
    ['an empty request_uri', changed((body) => ({ ...body, request_uri: '' }))],
    ['a request_uri with spaces', changed((body) => ({ ...body, request_uri: 'urn:a b' }))],
    ['an endless request_uri', changed((body) => ({ ...body, request_uri: `urn:${'a'.repeat(4000)}` }))],
    ['an endless answer', changed((body) => ({ ...body, extra: 'a'.repeat(50_000) }))],
  ])('is not %s (PAR-03, F04)', async (_name, handler) => {
    network.on(at.par, handler)
    const error = await refusal()
    expect(['response_invalid', 'token_request_failed']).toContain(error.code)
    expect(pushes().length).toBeLessThanOrEqual(2)
  })

  test.each([['missing'], [0], [-1], ['"300"'], ['null'], ['1e400'], ['true']])(
    'does not have %s for a lifetime (PAR-03, F02)',
    async (lifetime) => {
      network.on(at.par, async (_request, next) => {
        const response = await next()
        const { request_uri } = (await response.json()) as { request_uri: string }
        const member = lifetime === 'missing' ? '' : `,"expires_in":${lifetime}`
        const { status, headers } = response
        return new Response(`{"request_uri":"${request_uri}"${member}}`, { status, headers })
      })
      expect(await refusal()).toMatchObject({ code: 'response_invalid' })
    },
  )

  test('says until when the page can be opened (PAR-05, F02)', async () => {
    expect((await authorize()).expiresAt).toBe(network.clock.now() + 300_000)
  })

  test('that claims to last for ages does not (F02)', async () => {
    network.on(
      at.par,
      changed((body) => ({ ...body, expires_in: 1e300 })),
    )
    const { expiresAt } = await authorize()
    expect(expiresAt - network.clock.now()).toBeLessThanOrEqual(86_400_000)
  })

  test('without a nonce is asked for again with a proof, and then refused (F10, DPOP-19)', async () => {
    const success = { request_uri: 'urn:ietf:params:oauth:request_uri:req', expires_in: 300 }
    network.on(at.par, faults.answer(success, { status: 201 }))
    expect(await refusal()).toMatchObject({ code: 'response_invalid' })
    expect(pushes().map(({ proof }) => proof !== undefined)).toEqual([false, true])
  })
})

describe('an expired request', () => {
  test('is pushed again when it expired before the page could be left (PAR-05)', async () => {
    const gate = faults.hold({ after: true })
    network.on(at.par, gate.handler, { times: 1 })
    const client = createTestClient(network)
    const asking = client.authorize(ALICE.handle)
    await gate.reached
    network.clock.advance(600_000)
    gate.release()
    const { url, expiresAt } = await asking
    expect(pushes()).toHaveLength(2)
    expect(expiresAt).toBe(network.clock.now() + 300_000)
    expect((await client.handleCallback(network.approve(url))).did).toBe(ALICE.did)
  })

  test('that the page was opened with ends as a refusal that can be tried again (PAR-05)', async () => {
    const client = createTestClient(network)
    const { url, expiresAt } = await client.authorize(ALICE.handle)
    network.clock.set(expiresAt + 1)
    const error = await failureOf(network, client.handleCallback(network.approve(url)))
    expect(error).toMatchObject({ code: 'authorization_refused', oauthError: 'access_denied' })
    const again = await client.authorize(ALICE.handle)
    expect(again.url).not.toBe(url)
    expect((await client.handleCallback(network.approve(again.url))).did).toBe(ALICE.did)
  })
})

describe('a refusal', () => {
  test.each([
    ['invalid_request', 400],
    ['invalid_client', 401],
    ['invalid_client_metadata', 400],
    ['invalid_redirect_uri', 400],
    ['invalid_scope', 400],
    ['unauthorized_client', 400],
    ['unsupported_response_type', 400],
    ['server_error', 500],
    ['some_other_error', 400],
  ])('tells its OAuth error: %s (PAR-09)', async (oauthError, status) => {
    network.on(at.par, faults.oauthError(oauthError, { status, description: 'Because' }))
    expect(await refusal()).toMatchObject({
      code: 'token_request_failed',
      issuer: AS,
      url: `${AS}/oauth/par`,
      status,
      oauthError,
      oauthErrorDescription: 'Because',
      retryable: status >= 500,
    })
  })

  test('of the proof is an error of its own (PAR-09)', async () => {
    network.on(at.par, faults.oauthError('invalid_dpop_proof', { status: 401 }))
    expect(await refusal()).toMatchObject({
      code: 'dpop_rejected',
      oauthError: 'invalid_dpop_proof',
      status: 401,
    })
  })

  test.each([
    [405, faults.status(405)],
    [413, faults.html(413)],
    [415, faults.status(415, { message: 'no OAuth error' })],
    [429, faults.status(429, {}, { 'retry-after': '7' })],
    [500, faults.text('Internal Server Error', 'text/plain', 500)],
    [502, faults.html(502)],
    [503, faults.text('{"error":', 'application/json', 503)],
  ])('without an OAuth error tells its status %i (PAR-09)', async (status, handler) => {
    network.on(at.par, handler)
    const error = await refusal()
    expect(error).toMatchObject({
      code: 'token_request_failed',
      status,
      retryable: status === 429 || status >= 500,
    })
    expect(error.oauthError).toBeUndefined()
    expect(pushes()).toHaveLength(1)
  })

  test('by a redirect is not followed (PAR-09)', async () => {
    network.on(at.par, faults.redirectTo(`${EVIL}/oauth/par`, 307))
    expect(await refusal()).toMatchObject({ code: 'response_invalid' })
    expect(network.count(at.evil)).toBe(0)
  })

  test('keeps at most 512 harmless characters of its description (F11)', async () => {
    const description = `<img src=x onerror=alert(1)>\u202e\u0000\u200b${'long '.repeat(1000)}`
    network.on(at.par, faults.oauthError('invalid_scope', { description }))
    const { oauthErrorDescription = '', message, userMessage } = await refusal()
    expect(oauthErrorDescription.length).toBeLessThanOrEqual(512)
    expect(oauthErrorDescription).toContain('<img src=x')
    expect(oauthErrorDescription).not.toMatch(/[\p{Cc}\p{Cf}]/u)
    expect(message).not.toMatch(/[\p{Cc}\p{Cf}]/u)
    expect(userMessage).not.toContain('<img')
    expect(JSON.stringify(await refusal()).length).toBeLessThan(4096)
  })

  test('with a description of a megabyte is not read (F11)', async () => {
    network.on(at.par, faults.oauthError('invalid_scope', { description: '<b>\u202e'.repeat(250_000) }))
    const error = await refusal()
    expect(error).toMatchObject({ code: 'response_invalid', status: 400 })
    expect(JSON.stringify(error).length).toBeLessThan(4096)
    expect(pushes()[0]?.bodyCancelled).toBe(true)
  })

  test('with odd members has no OAuth error (F11, PAR-09)', async () => {
    network.on(at.par, faults.status(400, { error: '<b>bold</b>', error_description: { html: '<b>' } }))
    const error = await refusal()
    expect(error).toMatchObject({ code: 'token_request_failed', status: 400 })
    expect([error.oauthError, error.oauthErrorDescription]).toEqual([undefined, undefined])
  })

  test.each([
    ['of a day', 429, '86400', 86_400_000],
    ['of a day', 503, '86400', 86_400_000],
    ['of ages', 503, '9'.repeat(400), 86_400_000],
    ['until two minutes later', 503, 'Mon, 05 Oct 2026 12:02:00 GMT', 120_000],
    ['in words', 503, 'soon', undefined],
  ])(
    'with a Retry-After %s and status %i is not repeated by itself (F12)',
    async (_name, status, after, retryAfterMs) => {
      network.on(at.par, faults.status(status, {}, { 'retry-after': after }))
      const error = await refusal()
      expect(error).toMatchObject({ code: 'token_request_failed', status, retryable: true })
      expect((error as { retryAfterMs?: number }).retryAfterMs).toBe(retryAfterMs)
      expect(pushes()).toHaveLength(1)
    },
  )
})

describe('a lost request', () => {
  test.each([
    ['request', faults.unreachable()],
    ['answer', faults.loseAnswer()],
    ['rest of the answer', faults.truncatedBody(10)],
  ])('is not pushed again by itself when the %s is lost (F13)', async (_name, handler) => {
    network.on(at.par, handler)
    expect(await refusal()).toMatchObject({ code: 'network_failed', retryable: true, url: `${AS}/oauth/par` })
    expect(pushes()).toHaveLength(1)
  })

  test('is given up after fifteen seconds (F13)', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const gate = faults.hold()
    network.on(at.par, gate.handler)
    const failing = refusal()
    await gate.reached
    await vi.advanceTimersByTimeAsync(15_000)
    expect(await failing).toMatchObject({ code: 'timed_out', retryable: true })
    gate.release()
  })
})

describe('a wrong clock', () => {
  test('is measured once at the app, and the proof repeated (F09)', async () => {
    insisting()
    network.clockSkew(3_600_000)
    await expect(authorize()).resolves.toHaveProperty('url')
    expect(network.requests('app')).toMatchObject([{ method: 'HEAD', origin: APP }])
    expect(pushes().map(({ response }) => response?.status)).toEqual([401, 401, 201])
  })

  test.each([
    ['cannot be measured', faults.unreachable()],
    ['seems to be right', faults.changeHeaders({ date: new Date(Date.UTC(2026, 9, 5, 12)).toUTCString() })],
    ['is off beyond belief', faults.changeHeaders({ date: new Date(0).toUTCString() })],
  ])('that %s ends in an error that says so (F09)', async (_name, handler) => {
    insisting()
    network.clockSkew(3_600_000)
    network.on({ role: 'app' }, handler, { times: 1 })
    expect(await refusal()).toMatchObject({ code: 'dpop_rejected', oauthError: 'invalid_dpop_proof' })
    expect(pushes()).toHaveLength(2)
  })

  test('does not matter where the request needs no proof (PAR-06)', async () => {
    network.clockSkew(3_600_000)
    await expect(authorize()).resolves.toHaveProperty('url')
    expect(network.count({ role: 'app' })).toBe(0)
  })
})
