import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createTestClient, signInTo } from '../support/client.ts'
import {
  ALICE,
  AS,
  AS2,
  at,
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

const authorize = (identifier = ALICE.handle) => createTestClient(network).authorize(identifier)

async function refusal() {
  const error = await failureOf(network, authorize())
  expect(network.count({ role: 'as' })).toBe(0)
  return error
}

describe('the request', () => {
  test('goes to the well-known address of the PDS (PRM-01)', async () => {
    await authorize()
    const [request, ...others] = network.requests({ path: '/.well-known/oauth-protected-resource' })
    expect(request).toMatchObject({ method: 'GET', url: `${PDS}/.well-known/oauth-protected-resource` })
    expect(others).toEqual([])
  })

  test('needs no preflight: no header but Accept (PRM-06)', async () => {
    await authorize()
    const [request] = network.requests(at.resourceMetadata)
    expect([...(request?.headers.keys() ?? [])]).toEqual(['accept'])
    expect(request).toMatchObject({ method: 'GET', mode: 'cors', credentials: 'omit', text: '' })
  })
})

describe('the answer', () => {
  const metadata = JSON.stringify({ resource: PDS, authorization_servers: [AS] })

  test.each([
    ['a 201', faults.changeStatus(201)],
    ['a 204', faults.status(204)],
    ['a 206', faults.changeStatus(206)],
    ['a 404', faults.changeStatus(404)],
    ['a 500', faults.changeStatus(500)],
    ['HTML', faults.text(metadata, 'text/html')],
    ['text/json', faults.text(metadata, 'text/json')],
    ['JSON with a suffix to its type', faults.text(metadata, 'application/jsonx')],
    ['an array', faults.answer([{ resource: PDS, authorization_servers: [AS] }])],
    ['null', faults.answer(null)],
    ['a string', faults.answer(metadata)],
    ['half a document', faults.text(metadata.slice(0, 40), 'application/json')],
  ])('is refused when it is %s (PRM-02, D08)', async (_name, handler) => {
    network.on(at.resourceMetadata, handler, { times: 1 })
    expect(await refusal()).toMatchObject({ code: 'resource_metadata_invalid', pds: PDS })
  })

  test.each([301, 302, 303, 307, 308])(
    'is refused when it is a redirect by %i (PRM-02, D08)',
    async (code) => {
      network.on(at.resourceMetadata, faults.redirectTo(`${EVIL}/.well-known/oauth-protected-resource`, code))
      expect(await refusal()).toMatchObject({ code: 'response_invalid' })
      expect(network.count(at.evil)).toBe(0)
    },
  )

  test.each(['application/json; charset=utf-8', 'application/json;x=y', 'Application/JSON'])(
    'is taken as %s (PRM-02, D08)',
    async (type) => {
      network.on(at.resourceMetadata, faults.text(metadata, type), { times: 1 })
      await expect(authorize()).resolves.toMatchObject({ url: expect.stringContaining(AS) })
    },
  )

  test.each([
    ['has a trailing slash', `${PDS}/`],
    ['has a path', `${PDS}/path`],
    ['has the default port', `${PDS}:443`],
    ['is in upper case', PDS.toUpperCase()],
    ['is another host', AS],
    ['is missing', undefined],
    ['is no string', [PDS]],
  ])('is refused when its resource %s (PRM-03, D01)', async (_name, resource) => {
    network.on(
      at.resourceMetadata,
      faults.changeJson((body) => ({ ...body, resource })),
    )
    expect(await refusal()).toMatchObject({ code: 'resource_metadata_invalid' })
  })

  test.each([
    ['none', []],
    ['nothing', undefined],
    ['two', [AS, 'https://as2.signet.dev']],
    ['the same one twice', [AS, AS]],
    ['a number', [7]],
    ['a bare string', AS],
    ['an object', { 0: AS, length: 1 }],
  ])('is refused when it names %s as authorization servers (PRM-04, D02)', async (_name, servers) => {
    network.on(
      at.resourceMetadata,
      faults.changeJson((body) => ({ ...body, authorization_servers: servers })),
    )
    expect(await refusal()).toMatchObject({ code: 'resource_metadata_invalid' })
  })

  test.each([
    ['a path', `${AS}/tenant`],
    ['a trailing slash', `${AS}/`],
    ['a query', `${AS}?tenant=1`],
    ['a fragment', `${AS}#tenant`],
    ['an empty fragment', `${AS}#`],
    ['a user', 'https://user@as.signet.dev'],
    ['a user and a password', 'https://user:password@as.signet.dev'],
    ['the default port', `${AS}:443`],
    ['an upper-case host', 'https://AS.signet.dev'],
    ['plain http', 'http://as.signet.dev'],
    ['no scheme', 'as.signet.dev'],
    ['white space', ` ${AS}`],
    ['a local host', 'https://localhost'],
    ['an address of a local network', 'https://192.168.0.1'],
  ])('is refused when it names an issuer with %s (PRM-05, D05, D06)', async (_name, issuer) => {
    network.on(
      at.resourceMetadata,
      faults.changeJson((body) => ({ ...body, authorization_servers: [issuer] })),
    )
    expect(await refusal()).toMatchObject({ code: 'resource_metadata_invalid' })
  })
})

describe('a host without the document', () => {
  test('is its own issuer when sign-in began with it (PRM-07)', async () => {
    const session = await signInTo(network, createTestClient(network), AS)
    expect(session).toMatchObject({ issuer: AS, did: ALICE.did, pds: PDS })
  })

  test('is its own issuer as well when CORS hides the 404 from us (PRM-07)', async () => {
    network.on({ ...at.issuerMetadata, path: '/.well-known/oauth-protected-resource' }, faults.unreachable())
    const session = await signInTo(network, createTestClient(network), AS)
    expect(session).toMatchObject({ issuer: AS, did: ALICE.did, pds: PDS })
  })

  test.each([
    ['there', faults.status(404, {})],
    ['to be seen', faults.unreachable()],
  ])(
    'is not taken for an issuer when sign-in began with an account and nothing is %s (PRM-07)',
    async (_name, handler) => {
      network = createFakeNetwork({ standalone: true })
      network.on(at.resourceMetadata, handler)
      const error = await failureOf(network, authorize())
      expect(['resource_metadata_invalid', 'network_failed']).toContain(error.code)
      expect(network.count(at.par)).toBe(0)
    },
  )

  test('is no issuer when it names one that cannot be reached (PRM-07, ASM-20)', async () => {
    network = createFakeNetwork({ standalone: true })
    network.on(at.resourceMetadata, faults.answer({ resource: PDS, authorization_servers: [AS2] }))
    network.on({ role: 'as2' }, faults.unreachable())
    const error = await failureOf(network, authorize(PDS))
    expect(error).toMatchObject({ code: 'network_failed', url: expect.stringContaining(AS2) })
    expect(network.count(at.par)).toBe(0)
  })

  test.each([
    ['a server error', faults.status(500, {})],
    ['a document that is wrong', faults.answer({ resource: PDS, authorization_servers: [] })],
  ])('is its own issuer only for a 404, not for %s (PRM-07)', async (_name, handler) => {
    network = createFakeNetwork({ standalone: true })
    network.on(at.resourceMetadata, handler)
    await failureOf(network, authorize(PDS))
    expect(network.count(at.par)).toBe(0)
  })
})

test('a session begun at a server that points to an honest issuer belongs to the real PDS (D10)', async () => {
  network.on(
    { role: 'evil', path: '/.well-known/oauth-protected-resource' },
    faults.answer({ resource: EVIL, authorization_servers: [AS] }),
  )
  network.on(
    at.issuerMetadata,
    faults.changeJson(({ protected_resources: _, ...metadata }) => metadata),
  )
  const session = await signInTo(network, createTestClient(network), EVIL)
  expect(session).toMatchObject({ did: ALICE.did, pds: PDS, issuer: AS })
  expect((await session.fetch('/xrpc/dev.signet.echo')).status).toBe(200)
  const seenByEvil = network.requests(at.evil).map(({ path }) => path)
  expect(seenByEvil.every((path) => path.startsWith('/.well-known/'))).toBe(true)
})

describe('an answer without end', () => {
  test.each([
    ['never stops', faults.endlessBody()],
    ['is 10 MB long', faults.text(' '.repeat(10_000_000), 'application/json')],
  ])('is given up when it %s (D11)', async (_name, handler) => {
    network.on(at.resourceMetadata, handler)
    expect(await refusal()).toMatchObject({ code: 'response_invalid' })
    const [request] = network.requests(at.resourceMetadata)
    expect(request?.bodyCancelled).toBe(true)
  })

  test('is not read past its limit (D11)', async () => {
    network.on(at.resourceMetadata, faults.endlessBody())
    await refusal()
    const [request] = network.requests(at.resourceMetadata)
    expect(request?.bytesDelivered).toBeLessThan(40_000)
  })

  test.each([
    ['does not begin', faults.hang()],
    ['stalls', faults.stalledBody()],
  ])('is given up after five seconds when it %s (D11)', async (_name, handler) => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const reached = Promise.withResolvers<void>()
    network.on(at.resourceMetadata, (request, next) => {
      reached.resolve()
      return handler(request, next)
    })
    const failing = refusal()
    await reached.promise
    await vi.advanceTimersByTimeAsync(5_000)
    expect(await failing).toMatchObject({ code: 'timed_out', retryable: true })
  })
})
