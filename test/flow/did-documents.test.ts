import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createTestClient, signInTo } from '../support/client.ts'
import {
  ALICE,
  AS,
  at,
  createFakeNetwork,
  DORA,
  EVIL,
  type FakeNetwork,
  faults,
  PDS,
  PLC,
} from '../support/network.ts'

type Json = Record<string, unknown>

let network: FakeNetwork
beforeEach(() => {
  network = createFakeNetwork()
})
afterEach(() => {
  vi.useRealTimers()
})

const id = '#atproto_pds'
const type = 'AtprotoPersonalDataServer'
const serviceEndpoint = PDS

/** Changes ALICE's document; `undefined` removes a member. */
const changeDocument = (changes: Json) =>
  network.on(
    at.plc,
    faults.changeJson((document: Json) => ({ ...document, ...changes })),
    { times: 1 },
  )

const authorize = (did: string = ALICE.did) => createTestClient(network).authorize(did)

/** A sign-in that begins with the DID and must end with its document. */
async function expectRefusal(expected: Json): Promise<void> {
  await expect(authorize()).rejects.toMatchObject({ did: ALICE.did, ...expected })
  // The directory is the last to be asked anything.
  expect(network.log.map(({ role }) => role)).toEqual(['plc'])
  network.assertClean()
}

describe('the document of a did:plc', () => {
  test('is read from the directory of the network, unless the app names another (DID-04)', async () => {
    network.alias('https://plc.directory', 'plc')
    const client = createTestClient(network, { plcDirectory: undefined as never })
    expect((await signInTo(network, client, ALICE.did)).did).toBe(ALICE.did)
    const [request] = network.requests(at.plc)
    expect(request?.url).toBe(`https://plc.directory/${ALICE.did}`)
    expect(request?.method).toBe('GET')
    expect(request?.headers.get('accept')).toMatch(/application\/did\+ld\+json/)
    network.assertClean()
  })

  test.each([PLC, `${PLC}/`])(
    'is read from the directory %s that the app names (DID-04)',
    async (plcDirectory) => {
      await createTestClient(network, { plcDirectory }).authorize(ALICE.did)
      expect(network.requests(at.plc)[0]?.url).toBe(`${PLC}/${ALICE.did}`)
      network.assertClean()
    },
  )

  test.each([
    ['http://plc.signet.dev', {}],
    ['https://localhost:2582', {}],
    ['not a url', { allowHttp: true }],
  ])('is not read from %s (DID-04)', (plcDirectory, options) => {
    expect(() => createTestClient(network, { plcDirectory, ...options })).toThrow(TypeError)
  })

  test.each([404, 410])('that is gone with %i ends the sign-in for good (DID-01, C18)', async (status) => {
    network.on(at.plc, faults.status(status, { message: 'DID not available' }), { times: 1 })
    await expectRefusal({ code: 'did_not_found', retryable: false })
  })

  test.each([
    ['cannot be reached', faults.unreachable(), 'network_failed', true],
    ['is behind a redirect', faults.redirectTo(`${EVIL}/${ALICE.did}`), 'response_invalid', false],
    ['has status 500', faults.status(500), 'did_document_invalid', true],
  ])('that %s is told from one that does not exist (DID-01)', async (_what, fault, code, retryable) => {
    network.on(at.plc, fault, { times: 1 })
    await expect(authorize()).rejects.toMatchObject({ code, retryable })
    expect(network.log.map(({ role }) => role)).toEqual(['plc'])
  })

  test('is not read past 64 KiB (DID-12)', async () => {
    network.on(at.plc, faults.endlessBody('application/did+ld+json', ' '.repeat(4096)), { times: 1 })
    await expect(authorize()).rejects.toMatchObject({ code: 'response_invalid' })
    const [request] = network.requests(at.plc)
    expect(request?.bytesDelivered).toBeLessThanOrEqual(65_536 + 4096)
    expect(request?.bodyCancelled).toBe(true)
  })

  test('is waited for five seconds (DID-12)', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const silence = faults.hold()
    network.on(at.plc, silence.handler)
    const refusal = expect(authorize()).rejects.toMatchObject({
      code: 'timed_out',
      timeoutMs: 5000,
      retryable: true,
    })
    await silence.reached
    await vi.advanceTimersByTimeAsync(5000)
    await refusal
    expect(network.requests(at.plc)[0]?.signal.aborted).toBe(true)
  })

  test.each([
    'application/did+ld+json; charset=utf-8',
    'application/did+ld+json',
    'application/json',
    'Application/JSON',
  ])('may be %s (C14)', async (contentType) => {
    network.on(at.plc, faults.changeHeaders({ 'content-type': contentType }))
    expect((await signInTo(network, createTestClient(network), ALICE.did)).did).toBe(ALICE.did)
    network.assertClean()
  })

  test.each([
    ['text/html', 'text/html'],
    ['text/plain', 'text/plain'],
    ['nothing', null],
  ])('may not be %s (C14)', async (_what, contentType) => {
    network.on(at.plc, faults.changeHeaders({ 'content-type': contentType }), { times: 1 })
    await expectRefusal({ code: 'did_document_invalid' })
  })

  test.each([
    ['an array', []],
    ['null', null],
    ['a string', 'x'],
  ])('may not be %s (C14, C02)', async (_what, body) => {
    network.on(at.plc, faults.answer(body), { times: 1 })
    await expectRefusal({ code: 'did_document_invalid' })
  })

  test.each([
    ['another DID', 'did:plc:bobbobbobbobbobbobbobbob', 'C01'],
    ['missing', undefined, 'C02'],
    ['an array', [ALICE.did], 'C02'],
    ['in another case', ALICE.did.toUpperCase(), 'C02'],
    ['in almost the same case', ALICE.did.replace('alice', 'Alice'), 'C02'],
    ['the DID with something after it', `${ALICE.did}#`, 'C02'],
  ])('whose id is %s is refused: %j (DID-07, %s)', async (_what, value, _row) => {
    changeDocument({ id: value })
    await expectRefusal({ code: 'did_document_invalid', issues: [expect.stringContaining('id')] })
  })
})

describe('the document of a did:web', () => {
  test('is read from the well-known address of its host (DID-05)', async () => {
    expect((await signInTo(network, createTestClient(network), DORA.did)).did).toBe(DORA.did)
    expect(network.requests('web').map(({ url }) => url)).toEqual([
      'https://dora.handles.dev/.well-known/did.json',
      'https://dora.handles.dev/.well-known/did.json',
    ])
    expect(network.count(at.plc)).toBe(0)
    network.assertClean()
  })

  test.each([
    ['cannot be reached', faults.unreachable(), 'network_failed'],
    ['does not exist', faults.status(404), 'did_not_found'],
    ['is behind a redirect', faults.redirectTo(`${EVIL}/.well-known/did.json`), 'response_invalid'],
    [
      'is about somebody else',
      faults.changeJson((document) => ({ ...document, id: ALICE.did })),
      'did_document_invalid',
    ],
  ])('that %s ends the sign-in (DID-01, DID-07)', async (_what, fault, code) => {
    network.on({ role: 'web' }, fault, { times: 1 })
    await expect(authorize(DORA.did)).rejects.toMatchObject({ code })
    expect(network.count({ role: 'pds' }) + network.count(at.evil)).toBe(0)
    network.assertClean()
  })

  test('on localhost is read over plain http, with its port, in development (DID-05, DID-06)', async () => {
    const did = 'did:web:localhost%3A2583'
    network.addAccount({ did, handle: 'local.handles.dev', pds: PDS })
    network.on(
      { origin: 'http://localhost:2583' },
      faults.answer({ id: did, service: [{ id, type, serviceEndpoint }] }),
    )
    const developer = createTestClient(network, { allowHttp: true })
    const session = await signInTo(network, developer, did, { person: { as: did } })
    expect(session.did).toBe(did)
    expect(network.requests('web')[0]?.url).toBe('http://localhost:2583/.well-known/did.json')
    await expect(authorize(did)).rejects.toMatchObject({ code: 'identifier_invalid' })
  })
})

describe('the PDS of a document', () => {
  test.each([
    ['has a relative id', [{ id, type, serviceEndpoint }]],
    ['has an absolute id', [{ id: `${ALICE.did}${id}`, type, serviceEndpoint }]],
    [
      'comes after one of the wrong type',
      [
        { id, type: 'Other', serviceEndpoint: EVIL },
        { id, type, serviceEndpoint },
      ],
    ],
    [
      'comes after one of the wrong id',
      [
        { id: '#other', type, serviceEndpoint: EVIL },
        { id, type, serviceEndpoint },
      ],
    ],
    [
      'comes after one of somebody else',
      [
        { id: `did:plc:bobbobbobbobbobbobbobbob${id}`, type, serviceEndpoint: EVIL },
        { id, type, serviceEndpoint },
      ],
    ],
    [
      'comes after junk',
      [null, 42, 'x', [], {}, { id }, { id, type: [type] }, { id, type, serviceEndpoint }],
    ],
    ['has members nobody knows', [{ id, type, serviceEndpoint, priority: 1 }]],
  ])('is the service that %s (DID-09, C04)', async (_what, service) => {
    changeDocument({ service })
    expect((await authorize()).url).toMatch(`${AS}/oauth/authorize`)
    expect(network.requests(at.resourceMetadata)).toHaveLength(1)
    expect(network.count(at.evil)).toBe(0)
    network.assertClean()
  })

  test.each([
    ['relative then absolute', [id, `${ALICE.did}${id}`]],
    ['absolute then relative', [`${ALICE.did}${id}`, id]],
    ['relative twice', [id, id]],
  ])('is not chosen from two, %s (DID-09, C03)', async (_what, [first, second]) => {
    const service = [
      { id: first, type, serviceEndpoint },
      { id: second, type, serviceEndpoint: EVIL },
    ]
    changeDocument({ service })
    await expectRefusal({ code: 'did_document_invalid', issues: [expect.stringContaining('service')] })
  })

  test.each([
    ['there are no services', []],
    ['there is no list of services', undefined],
    ['the type is wrong', [{ id, type: 'AtprotoLabeler', serviceEndpoint }]],
    ['the type is a list', [{ id, type: [type], serviceEndpoint }]],
    ['the id is wrong', [{ id: '#pds', type, serviceEndpoint }]],
    ['the id has no number sign', [{ id: 'atproto_pds', type, serviceEndpoint }]],
    ['the id is somebody else’s', [{ id: `did:plc:bobbobbobbobbobbobbobbob${id}`, type, serviceEndpoint }]],
  ])('is missing where %s, and the error says so (DID-09, DID-11)', async (_what, service) => {
    changeDocument({ service })
    await expectRefusal({ code: 'did_document_invalid', issues: [expect.stringMatching(/service.*\bPDS\b/)] })
  })

  test.each([
    ['plain http', 'http://pds.signet.dev', 'C06'],
    ['a path', `${PDS}/x`, 'C08'],
    ['a trailing slash', `${PDS}/`, 'C08'],
    ['a query', `${PDS}?x=1`, 'C08'],
    ['a fragment', `${PDS}#x`, 'C08'],
    ['a name', 'https://u@pds.signet.dev', 'C08'],
    ['a name and password', 'https://u:p@pds.signet.dev', 'C08'],
    ['the default port', 'https://pds.signet.dev:443', 'C08'],
    ['capitals', 'https://PDS.signet.dev', 'C08'],
    ['white space', ' https://pds.signet.dev', 'C08'],
    ['no host', 'https://', 'C08'],
    ['a local host', 'https://localhost:2583', 'C08'],
    ['an IP address', 'https://10.0.0.1', 'C08'],
    ['a script', 'javascript:alert(1)', 'C08'],
    ['no scheme', 'pds.signet.dev', 'C08'],
    ['no string but an object', { uri: PDS }, 'C05'],
    ['no string but an array', [PDS], 'C05'],
    ['nothing', undefined, 'C05'],
  ])('is refused with %s: %j (DID-10, %s)', async (_what, endpoint, _row) => {
    changeDocument({ service: [{ id, type, serviceEndpoint: endpoint }] })
    await expectRefusal({ code: 'did_document_invalid', issues: [expect.stringContaining('service')] })
  })

  test('may have a port of its own (DID-10)', async () => {
    const origin = 'https://pds.signet.dev:8443'
    network.alias(origin, 'pds')
    changeDocument({ service: [{ id, type, serviceEndpoint: origin }] })
    await expect(authorize()).rejects.toMatchObject({ code: 'resource_metadata_invalid', pds: origin })
  })

  test('may be on plain http in development only (DID-10)', async () => {
    const origin = 'http://localhost:2583'
    network.alias(origin, 'pds')
    changeDocument({ service: [{ id, type, serviceEndpoint: origin }] })
    const developer = createTestClient(network, { allowHttp: true })
    await expect(developer.authorize(ALICE.did)).rejects.toMatchObject({
      code: 'resource_metadata_invalid',
      pds: origin,
    })
  })
})

describe('the handle that a document claims', () => {
  test.each([
    ['after an entry that is no handle', ['at://not_valid', `at://${ALICE.handle}`], 'C16'],
    ['after other URLs', ['https://x', 'at://bad_handle', `at://${ALICE.handle}`], 'C16'],
    ['after a handle with a path', [`at://${ALICE.handle}/profile`, `at://${ALICE.handle}`], 'C16'],
    ['after a handle with a query', ['at://bob.handles.dev?x', `at://${ALICE.handle}`], 'C16'],
    ['after a handle with a port', ['at://bob.handles.dev:443', `at://${ALICE.handle}`], 'C16'],
    ['after a bare handle', ['bob.handles.dev', `at://${ALICE.handle}`], 'C16'],
    ['after another case of the scheme', ['AT://bob.handles.dev', `at://${ALICE.handle}`], 'C16'],
    ['before another one', [`at://${ALICE.handle}`, 'at://bob.handles.dev'], 'C16'],
    ['among junk', ['', 'http://[', null, 42, {}, ['at://bob.handles.dev'], `at://${ALICE.handle}`], 'C17'],
    ['before ten thousand others', [`at://${ALICE.handle}`, ...Array(10_000).fill(0)], 'C17'],
  ])('counts %s (DID-08, %s)', async (_where, alsoKnownAs) => {
    changeDocument({ alsoKnownAs })
    expect((await authorize(ALICE.handle)).url).toMatch(`${AS}/oauth/authorize`)
    network.assertClean()
  })

  test('is not looked for among ten thousand entries (DID-08, C17)', async () => {
    const alsoKnownAs = [...Array(10_000).fill(0), `at://${ALICE.handle}`]
    changeDocument({ alsoKnownAs })
    await expect(authorize(ALICE.handle)).rejects.toMatchObject({ code: 'handle_mismatch' })
  })
})

test.each(['router.local', 'nas.internal', 'hidden.onion', 'handle.invalid', 'printer.localhost'])(
  'a handle that only means something elsewhere is asked for nowhere: %s (HDL-03)',
  async (handle) => {
    const network = createFakeNetwork()
    const client = createTestClient(network, { handleResolver: { type: 'well-known' } })
    network.on(
      at.plc,
      faults.changeJson((document) => ({ ...document, alsoKnownAs: [`at://${handle}`] })),
    )
    const before = network.count(at.plc)
    const session = await signInTo(network, client, ALICE.did)
    await vi.waitFor(() => expect(network.count(at.plc)).toBeGreaterThan(before + 2))
    expect(session.account.handle).toBeUndefined()
    expect(network.log.filter(({ url }) => url.includes(handle))).toEqual([])
  },
)

test.each(['https://localhost.', 'https://router.local.', 'https://x.internal.', 'https://nas.home.arpa'])(
  'a PDS on a local name is refused, with a dot at its end or not: %s (DID-10)',
  async (pds) => {
    const network = createFakeNetwork()
    network.on(
      at.plc,
      faults.changeJson((document) => {
        document.service[0].serviceEndpoint = pds
      }),
    )
    const error = await createTestClient(network)
      .authorize(ALICE.did)
      .catch((error: unknown) => error)
    expect(error).toMatchObject({ code: 'did_document_invalid' })
    expect(network.log.filter(({ url }) => url.startsWith(pds))).toEqual([])
  },
)
