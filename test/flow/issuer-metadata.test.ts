import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createTestClient, signInTo } from '../support/client.ts'
import {
  ALICE,
  AS,
  AS2,
  at,
  callbackParameters,
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

const without = (name: string) => faults.changeJson(({ [name]: _, ...metadata }) => metadata)
const having = (members: Record<string, unknown>) =>
  faults.changeJson((metadata) => ({ ...metadata, ...members }))

/** How the sign-in ends, which must be before anything is pushed. */
async function refusal() {
  const error = await failureOf(network, authorize())
  expect(network.log.filter(({ method }) => method !== 'GET')).toEqual([])
  expect(network.count(at.evil)).toBe(0)
  return error
}

describe('the request', () => {
  test('goes to the well-known address of the issuer, without a preflight (ASM-01, PRM-06)', async () => {
    await authorize()
    const [request, ...others] = network.requests(at.issuerMetadata)
    expect(request).toMatchObject({ method: 'GET', url: `${AS}/.well-known/oauth-authorization-server` })
    expect([...(request?.headers.keys() ?? [])]).toEqual(['accept'])
    expect(others).toEqual([])
  })
})

describe('the answer', () => {
  test.each([
    ['a 201', faults.changeStatus(201)],
    ['a 204', faults.status(204)],
    ['a 206', faults.changeStatus(206)],
    ['a 404', faults.changeStatus(404)],
    ['HTML', faults.changeHeaders({ 'content-type': 'text/html' })],
    ['text/json', faults.changeHeaders({ 'content-type': 'text/json' })],
    ['of no type', faults.changeHeaders({ 'content-type': '' })],
    ['an array', faults.changeJson((metadata) => [metadata])],
    ['null', faults.changeJson(() => null)],
    ['half a document', faults.text('{"issuer":"https://as.', 'application/json')],
  ])('is refused when it is %s (ASM-01)', async (_name, handler) => {
    network.on(at.issuerMetadata, handler, { times: 1 })
    expect(await refusal()).toMatchObject({ code: 'issuer_metadata_invalid', issuer: AS })
  })

  test.each([301, 302, 307, 308])('is refused when it is a redirect by %i (ASM-01)', async (code) => {
    network.on(at.issuerMetadata, faults.redirectTo(`${EVIL}/.well-known/oauth-authorization-server`, code))
    expect(await refusal()).toMatchObject({ code: 'response_invalid' })
  })

  test.each([
    ['another host', AS2],
    ['a trailing slash', `${AS}/`],
    ['another case', 'https://AS.signet.dev'],
    ['the default port', `${AS}:443`],
    ['a path', `${AS}/tenant`],
    ['plain http', 'http://as.signet.dev'],
    ['no string', [AS]],
    ['nothing', undefined],
  ])('is refused when its issuer has %s (ASM-02, E01)', async (_name, issuer) => {
    network.on(at.issuerMetadata, having({ issuer }))
    expect(await refusal()).toMatchObject({ code: 'issuer_metadata_invalid' })
  })
})

describe('a server that does not fit the profile', () => {
  const es256 = ['ES256']

  test.each([
    ['lacks response types', without('response_types_supported'), 'response_types_supported'],
    [
      'has no response type code',
      having({ response_types_supported: ['token', 'code id_token'] }),
      'response_types_supported',
    ],
  ])('is refused when it %s (ASM-05, E08)', async (_name, handler, member) => {
    network.on(at.issuerMetadata, handler)
    expect(await refusal()).toMatchObject({ code: 'issuer_unsupported', missing: [member] })
  })

  test.each([
    ['lacks grant types', without('grant_types_supported')],
    ['has no code grant', having({ grant_types_supported: ['refresh_token'] })],
    ['has no refresh grant', having({ grant_types_supported: ['authorization_code'] })],
  ])('is refused when it %s (ASM-06, E08)', async (_name, handler) => {
    network.on(at.issuerMetadata, handler)
    expect(await refusal()).toMatchObject({ code: 'issuer_unsupported', missing: ['grant_types_supported'] })
  })

  test.each([
    ['lacks challenge methods', without('code_challenge_methods_supported')],
    ['has plain challenges only', having({ code_challenge_methods_supported: ['plain'] })],
    ['writes S256 otherwise', having({ code_challenge_methods_supported: ['s256'] })],
  ])('is refused when it %s (ASM-07, E04)', async (_name, handler) => {
    network.on(at.issuerMetadata, handler)
    expect(await refusal()).toMatchObject({
      code: 'issuer_unsupported',
      missing: ['code_challenge_methods_supported'],
    })
  })

  test.each([
    ['lacks authentication methods', without('token_endpoint_auth_methods_supported')],
    ['takes no public clients', having({ token_endpoint_auth_methods_supported: ['private_key_jwt'] })],
    ['takes no clients with a key', having({ token_endpoint_auth_methods_supported: ['none'] })],
  ])('is refused when it %s (ASM-08, E09)', async (_name, handler) => {
    network.on(at.issuerMetadata, handler)
    expect(await refusal()).toMatchObject({
      code: 'issuer_unsupported',
      missing: ['token_endpoint_auth_methods_supported'],
    })
  })

  const assertionAlgorithms = 'token_endpoint_auth_signing_alg_values_supported'
  test.each([
    ['lacks algorithms for assertions', without(assertionAlgorithms)],
    ['takes no ES256 assertions', having({ [assertionAlgorithms]: ['RS256'] })],
    ['takes unsigned assertions', having({ [assertionAlgorithms]: ['ES256', 'none'] })],
  ])('is refused when it %s (ASM-09)', async (_name, handler) => {
    network.on(at.issuerMetadata, handler)
    expect(await refusal()).toMatchObject({
      code: 'issuer_unsupported',
      missing: [expect.stringContaining(assertionAlgorithms)],
    })
  })

  test.each([
    ['lacks scopes', without('scopes_supported')],
    ['does not know atproto', having({ scopes_supported: ['openid', 'atprotox', 'transition:generic'] })],
  ])('is refused when it %s (ASM-10, E06)', async (_name, handler) => {
    network.on(at.issuerMetadata, handler)
    expect(await refusal()).toMatchObject({ code: 'issuer_unsupported', missing: ['scopes_supported'] })
  })

  const issParameter = 'authorization_response_iss_parameter_supported'
  test.each([
    ['does not promise iss', without(issParameter)],
    ['denies iss', having({ [issParameter]: false })],
  ])('is refused when it %s (ASM-11, E10)', async (_name, handler) => {
    network.on(at.issuerMetadata, handler)
    expect(await refusal()).toMatchObject({ code: 'issuer_unsupported', missing: [issParameter] })
  })

  const pushEndpoint = 'pushed_authorization_request_endpoint'
  const pushRequired = 'require_pushed_authorization_requests'
  test.each([
    ['has no endpoint for pushed requests', without(pushEndpoint), [pushEndpoint]],
    ['does not demand pushed requests', without(pushRequired), [pushRequired]],
    ['says it does without them', having({ [pushRequired]: false }), [pushRequired]],
    [
      'has no pushed requests at all',
      having({ [pushEndpoint]: undefined, [pushRequired]: false }),
      [pushRequired, pushEndpoint],
    ],
  ])('is refused when it %s (ASM-12, PAR-01, E02, E03)', async (_name, handler, missing) => {
    network.on(at.issuerMetadata, handler)
    expect(await refusal()).toMatchObject({ code: 'issuer_unsupported', missing })
    expect(network.navigations).toEqual([])
  })

  const proofAlgorithms = 'dpop_signing_alg_values_supported'
  test.each([
    ['lacks algorithms for proofs', without(proofAlgorithms)],
    ['has none', having({ [proofAlgorithms]: [] })],
    ['wants RS256 proofs', having({ [proofAlgorithms]: ['RS256'] })],
    ['wants unsigned proofs', having({ [proofAlgorithms]: ['none'] })],
  ])('is refused when it %s (ASM-13, E05)', async (_name, handler) => {
    network.on(at.issuerMetadata, handler)
    expect(await refusal()).toMatchObject({ code: 'issuer_unsupported', missing: [proofAlgorithms] })
  })

  test('gets ES256 proofs when it takes others as well (ASM-13, E05)', async () => {
    network.on(at.issuerMetadata, having({ [proofAlgorithms]: ['RS256', 'ES256'] }))
    await signInTo(network, createTestClient(network), ALICE.handle)
    expect(network.requests(at.exchange)[0]?.proof?.header.alg).toBe('ES256')
  })

  test('is refused when it does not register request URIs (ASM-14)', async () => {
    network.on(at.issuerMetadata, having({ require_request_uri_registration: false }))
    expect(await refusal()).toMatchObject({
      code: 'issuer_unsupported',
      missing: ['require_request_uri_registration'],
    })
  })

  test('is taken when it says nothing of the registration of request URIs (ASM-14)', async () => {
    network.on(at.issuerMetadata, without('require_request_uri_registration'))
    await expect(authorize()).resolves.toHaveProperty('url')
  })

  const documents = 'client_id_metadata_document_supported'
  test.each([
    ['does not say that it reads client metadata', without(documents), 'issuer_unsupported'],
    ['does not read client metadata', having({ [documents]: false }), 'issuer_unsupported'],
    ['says so in a string', having({ [documents]: 'true' }), 'issuer_metadata_invalid'],
    ['says so in a number', having({ [documents]: 1 }), 'issuer_metadata_invalid'],
  ])('is refused when it %s (ASM-15, E07)', async (_name, handler, code) => {
    network.on(at.issuerMetadata, handler)
    expect(await refusal()).toMatchObject({ code })
  })

  test('is refused when its protected resources leave out the PDS (ASM-16, D09)', async () => {
    network.on(at.issuerMetadata, having({ protected_resources: ['https://pds2.signet.dev', `${PDS}/`] }))
    expect(await refusal()).toMatchObject({ code: 'issuer_unsupported', missing: ['protected_resources'] })
  })

  test('is taken when it lists no protected resources (ASM-16)', async () => {
    network.on(at.issuerMetadata, without('protected_resources'))
    await expect(authorize()).resolves.toHaveProperty('url')
  })

  test('is refused with everything that it lacks (ASM-07, ASM-10)', async () => {
    network.on(at.issuerMetadata, having({ scopes_supported: [], code_challenge_methods_supported: [] }))
    expect(await refusal()).toMatchObject({
      missing: expect.arrayContaining(['scopes_supported', 'code_challenge_methods_supported']),
    })
  })

  test('is taken when it offers no more than the profile asks for (ASM-14, ASM-16)', async () => {
    network.on(
      at.issuerMetadata,
      faults.changeJson((metadata) => ({
        issuer: metadata.issuer,
        authorization_endpoint: metadata.authorization_endpoint,
        token_endpoint: metadata.token_endpoint,
        pushed_authorization_request_endpoint: metadata.pushed_authorization_request_endpoint,
        require_pushed_authorization_requests: true,
        authorization_response_iss_parameter_supported: true,
        client_id_metadata_document_supported: true,
        scopes_supported: ['atproto'],
        response_types_supported: ['code'],
        grant_types_supported: ['authorization_code', 'refresh_token'],
        code_challenge_methods_supported: ['S256'],
        token_endpoint_auth_methods_supported: ['none', 'private_key_jwt'],
        token_endpoint_auth_signing_alg_values_supported: es256,
        dpop_signing_alg_values_supported: es256,
      })),
    )
    const session = await signInTo(network, createTestClient(network), ALICE.handle)
    expect(session.did).toBe(ALICE.did)
  })
})

describe('the response mode', () => {
  test.each([
    [['query', 'fragment'], 'fragment'],
    [['query'], 'query'],
    [['query', 'form_post'], 'query'],
    [undefined, 'fragment'],
  ])('is one of those offered: of %j, %s (ASM-18, REQ-14)', async (modes, expected) => {
    network.on(at.issuerMetadata, having({ response_modes_supported: modes }))
    const client = createTestClient(network)
    const { url } = await client.authorize(ALICE.handle)
    expect(network.requests(at.par)[0]?.form.response_mode).toBe(expected)
    const callback = network.approve(url)
    expect(new URL(callback)[expected === 'query' ? 'hash' : 'search']).toBe('')
    expect(callbackParameters(callback).get('code')).toBeTruthy()
    expect((await client.handleCallback(callback)).did).toBe(ALICE.did)
  })
})

describe('a document out of proportion', () => {
  test.each([
    ['5 MB long', ' '.repeat(5_000_000)],
    ['full of long lists', JSON.stringify({ scopes_supported: Array(100_000).fill('atproto') })],
    ['nested 100 000 levels deep', `{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`],
  ])('is given up when it is %s (E17)', async (_name, body) => {
    network.on(at.issuerMetadata, faults.text(body, 'application/json'))
    expect(await refusal()).toMatchObject({ code: 'response_invalid' })
    expect(network.requests(at.issuerMetadata)[0]?.bodyCancelled).toBe(true)
  })

  test('does no harm when it is nested as deep as the size limit allows (E17)', async () => {
    network.on(at.issuerMetadata, async (_request, next) => {
      const document = await (await next()).text()
      const nested = `${'['.repeat(30_000)}${']'.repeat(30_000)}`
      return new Response(`${document.slice(0, -1)},"extra":${nested}}`, {
        headers: { 'content-type': 'application/json' },
      })
    })
    await expect(authorize()).resolves.toHaveProperty('url')
  })

  test('is not read past its limit when it never ends (E17)', async () => {
    network.on(at.issuerMetadata, faults.endlessBody())
    expect(await refusal()).toMatchObject({ code: 'response_invalid' })
    expect(network.requests(at.issuerMetadata)[0]?.bytesDelivered).toBeLessThan(80_000)
  })

  test('is given up after five seconds when it stalls (E17)', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const reached = Promise.withResolvers<void>()
    network.on(at.issuerMetadata, (request, next) => {
      reached.resolve()
      return faults.stalledBody()(request, next)
    })
    const failing = refusal()
    await reached.promise
    await vi.advanceTimersByTimeAsync(5_000)
    expect(await failing).toMatchObject({ code: 'timed_out' })
  })
})
