import { createHash } from 'node:crypto'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { createTestClient, signInTo } from '../support/client.ts'
import { ALICE, AS, at, BOB, createFakeNetwork, faults, PDS } from '../support/network.ts'
import { failureOf } from './failure.ts'
import { HOUR, MINUTE, PING, refreshes, SECOND, signedIn, warm } from './signed-in.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

/** Sign-in, a request, a refresh, a request, sign-out. */
async function life() {
  const { network, client, session } = await signedIn()
  await session.fetch(PING)
  await session.refresh()
  await session.fetch(PING)
  await client.signOut()
  network.assertClean()
  return network
}

test('sends exactly one proof with every token, refresh, revocation and resource request, and binds the pushed one to its key (DPOP-01)', async () => {
  const network = await life()
  for (const match of [at.exchange, at.refresh, at.revoke, at.resource]) {
    expect(network.count(match)).toBeGreaterThan(0)
    for (const request of network.requests(match)) {
      expect(request.headers.get('dpop')).toMatch(/^[\w-]+\.[\w-]+\.[\w-]{86}$/)
    }
  }
  const [key] = network.requests(at.exchange).map(({ proof }) => proof?.jkt)
  for (const { proof, form } of network.requests(at.par)) expect(proof?.jkt ?? form.dpop_jkt).toBe(key)
})

test('puts type, algorithm and the public half of the key into the header, and nothing else (DPOP-02, DPOP-09)', async () => {
  const network = await life()
  const proofs = network.log.flatMap(({ proof }) => proof ?? [])
  expect(proofs.length).toBeGreaterThan(5)
  for (const { header, payload } of proofs) {
    expect(header).toEqual({
      typ: 'dpop+jwt',
      alg: 'ES256',
      jwk: { kty: 'EC', crv: 'P-256', x: expect.any(String), y: expect.any(String) },
    })
    const claims = Object.keys(payload).filter((name) => name !== 'nonce' && name !== 'ath')
    expect(claims.sort()).toEqual(['htm', 'htu', 'iat', 'jti'])
  }
})

test('signs with ES256 where the server lists only that (DPOP-03)', async () => {
  const network = createFakeNetwork()
  network.on(
    at.issuerMetadata,
    faults.changeJson((metadata) => {
      metadata.dpop_signing_alg_values_supported = ['ES256']
    }),
  )
  await signInTo(network, createTestClient(network), ALICE.handle)
  expect(network.requests(at.exchange).at(-1)?.proof?.header.alg).toBe('ES256')
  network.assertClean()
})

test('asks nothing of a server that does not take ES256 (DPOP-03)', async () => {
  const network = createFakeNetwork()
  network.on(
    at.issuerMetadata,
    faults.changeJson((metadata) => {
      metadata.dpop_signing_alg_values_supported = ['ES256K', 'RS256']
    }),
  )
  const error = await failureOf(network, createTestClient(network).authorize(ALICE.handle))
  expect(error).toMatchObject({ code: 'issuer_unsupported', missing: ['dpop_signing_alg_values_supported'] })
  expect(network.count(at.par)).toBe(0)
})

test('gives every proof a jti of 128 bits from the cryptographic generator (DPOP-04, STO-09)', async () => {
  const guessable = vi.spyOn(Math, 'random')
  const generator = vi.spyOn(crypto, 'getRandomValues')
  const { network, session } = await warm()
  await Promise.all(Array.from({ length: 50 }, () => session.fetch(PING)))
  const identifiers = network.log.flatMap(({ proof }) => (proof ? [String(proof.payload.jti)] : []))
  expect(identifiers.length).toBeGreaterThan(50)
  expect(new Set(identifiers).size).toBe(identifiers.length)
  for (const jti of identifiers) expect(Buffer.from(jti, 'base64url').length).toBeGreaterThanOrEqual(16)
  const generated = new Set(
    generator.mock.results.map(({ value }) => Buffer.from(value as Uint8Array).toString('base64url')),
  )
  for (const jti of identifiers) expect(generated).toContain(jti)
  expect(guessable).not.toHaveBeenCalled()
})

test.each([
  ['get', 'GET'],
  ['post', 'POST'],
  ['Put', 'PUT'],
  ['delete', 'DELETE'],
  ['patch', 'PATCH'],
  ['HEAD', 'HEAD'],
])('names the method %s in the proof as it is sent (DPOP-05)', async (method, sent) => {
  const { network, session } = await warm()
  await session.fetch(PING, { method })
  const request = network.requests(at.resource).at(-1)
  expect(request?.method).toBe(sent)
  expect(request?.proof?.payload.htm).toBe(sent)
  network.assertClean()
})

test.each([
  ['a query and a fragment', `${PING}?limit=1&cursor=%2F#part`, `${PDS}${PING}`],
  ['an absolute URL', `${PDS}${PING}?x=1`, `${PDS}${PING}`],
  [
    'a URL object that spelled out the default port',
    new URL(`https://pds.signet.dev:443${PING}`),
    `${PDS}${PING}`,
  ],
])('proves the URL without query and fragment for %s (DPOP-06)', async (_name, input, htu) => {
  const { network, session } = await warm()
  await session.fetch(input)
  const request = network.requests(at.resource).at(-1)
  expect(request?.proof?.payload.htu).toBe(htu)
  expect(request && request.origin + request.path).toBe(htu)
  network.assertClean()
})

test('proves the token endpoint without the query it is published with (DPOP-06)', async () => {
  const network = createFakeNetwork()
  network.on(
    at.issuerMetadata,
    faults.changeJson((metadata) => {
      metadata.token_endpoint += '?tenant=1'
    }),
  )
  await signInTo(network, createTestClient(network), ALICE.handle)
  const [exchange] = network.requests(at.exchange)
  expect(exchange?.url).toBe(`${AS}/oauth/token?tenant=1`)
  expect(exchange?.proof?.payload.htu).toBe(`${AS}/oauth/token`)
  network.assertClean()
})

describe('a proof is dated when it is sent, in whole seconds,', () => {
  test('on every request (DPOP-07)', async () => {
    const { network, session } = await warm()
    network.clock.advance(1_999)
    await session.fetch(PING)
    const { proof, at: sentAt } = network.log.at(-1) ?? {}
    expect(proof?.payload.iat).toBe(Math.floor(Number(sentAt) / 1000))
  })

  test('also after waiting for the first nonce (DPOP-07)', async () => {
    const { network, session } = await signedIn()
    const first = faults.hold()
    network.on(at.resource, first.handler, { times: 1 })
    const requests = [session.fetch(PING), session.fetch(PING)]
    await first.reached
    network.clock.advance(100 * SECOND)
    first.release()
    for (const { status } of await Promise.all(requests)) expect(status).toBe(200)
    const dates = network.requests(at.resource).map(({ proof, at: sentAt }) => ({
      iat: proof?.payload.iat,
      sent: Math.floor(sentAt / 1000),
    }))
    expect(dates.length).toBeGreaterThan(2)
    for (const { iat, sent } of dates) expect(iat).toBe(sent)
  })

  test('also after waiting for a refresh (DPOP-07)', async () => {
    const { network, session } = await warm()
    network.clock.advance(2 * HOUR)
    const refresh = faults.hold({ after: true })
    network.on(at.refresh, refresh.handler)
    const request = session.fetch(PING)
    await refresh.reached
    network.clock.advance(MINUTE)
    refresh.release()
    expect((await request).status).toBe(200)
    const { proof, at: sentAt } = network.requests(at.resource).at(-1) ?? {}
    expect(proof?.payload.iat).toBe(Math.floor(Number(sentAt) / 1000))
  })
})

test('hashes the access token in resource proofs, and has no hash in any other (DPOP-08)', async () => {
  const network = await life()
  for (const { path, proof, accessToken } of network.log) {
    if (!proof) continue
    const hash = accessToken && createHash('sha256').update(accessToken).digest('base64url')
    expect(proof.payload.ath).toBe(path.startsWith('/xrpc/') ? hash : undefined)
    expect(accessToken !== undefined).toBe(path.startsWith('/xrpc/'))
  }
})

test('makes a key for every sign-in, and keeps it for the life of the session (DPOP-20)', async () => {
  const network = createFakeNetwork()
  const client = createTestClient(network)
  const alice = await signInTo(network, client, ALICE.handle)
  const bob = await signInTo(network, client, BOB.handle)
  await signInTo(network, createTestClient(network), ALICE.handle)
  const keys = network.sessions().map(({ jkt }) => jkt)
  expect(new Set(keys).size).toBe(3)

  for (let hour = 0; hour < 3; hour++) {
    network.clock.advance(2 * HOUR)
    for (const session of [alice, bob]) expect((await session.fetch(PING)).status).toBe(200)
  }
  expect(refreshes(network)).toBe(6)
  for (const { form, proof } of network.requests(at.refresh)) {
    const owner = network
      .sessions()
      .find(({ spentRefreshTokens: spent }) => spent.has(form.refresh_token ?? ''))
    expect(proof?.jkt).toBe(owner?.jkt)
  }
  network.assertClean()
})
