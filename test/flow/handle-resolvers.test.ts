import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { OAuthClientOptions } from '../../src/index.ts'
import { createTestClient, signInTo } from '../support/client.ts'
import {
  ALICE,
  at,
  BOB,
  createFakeNetwork,
  DOH,
  EVIL,
  type FakeNetwork,
  faults,
  RESOLVER,
} from '../support/network.ts'
import { failureOf } from './failure.ts'

let network: FakeNetwork
beforeEach(() => {
  network = createFakeNetwork()
})
afterEach(() => {
  vi.useRealTimers()
})

const createClient = (handleResolver: NonNullable<OAuthClientOptions['handleResolver']>) =>
  createTestClient(network, { handleResolver })
const dns = { type: 'dns', url: DOH } as const
const wellKnown = { type: 'well-known' } as const

/** Nothing is asked of anybody who comes after the resolvers. */
function expectNothingAfterResolution(): void {
  for (const match of [at.plc, at.resourceMetadata, at.issuerMetadata, at.par])
    expect(network.count(match)).toBe(0)
}

describe('a handle', () => {
  test.each([
    ['in DNS only', { dns: [`did=${ALICE.did}`] }],
    ['over HTTPS only', { wellKnown: ALICE.did }],
  ])('that is published %s is found (HDL-05)', async (_where, records) => {
    network.handles.set(ALICE.handle, records)
    const session = await signInTo(network, createClient([dns, wellKnown]), ALICE.handle)
    expect(session.account).toMatchObject({ did: ALICE.did, handle: ALICE.handle })
    network.assertClean()
  })

  test.each([
    ['the URL of a service', RESOLVER],
    ['an XRPC service', { type: 'xrpc', service: RESOLVER } as const],
    ['DNS over HTTPS', dns],
    ['its own host', wellKnown],
    ['a function', async () => ALICE.did],
  ])('is found by %s alone (HDL-05)', async (_what, resolver) => {
    const session = await signInTo(network, createClient(resolver), ALICE.handle)
    expect(session.account.handle).toBe(ALICE.handle)
    network.assertClean()
  })

  test('is looked up at its own host and nowhere else, unless the app names somebody (HDL-05)', async () => {
    const client = createTestClient(network, { handleResolver: undefined as never })
    await client.authorize(ALICE.handle)
    expect(network.log[0]?.url).toBe(`https://${ALICE.handle}/.well-known/atproto-did`)
    expect(network.count(at.resolver) + network.count(at.doh)).toBe(0)
    network.assertClean()
  })

  test('is given to a function in lower case, with a signal (HDL-02, HDL-05)', async () => {
    const resolver = vi.fn(async (_handle: string, _options: { signal: AbortSignal }) => ALICE.did)
    await createClient(resolver).authorize('Alice.Handles.DEV')
    expect(resolver.mock.calls).toEqual([[ALICE.handle, { signal: expect.any(AbortSignal) }]])
  })

  test.each([
    ['DNS over HTTPS', dns],
    ['its own host', wellKnown],
    ['an XRPC service', RESOLVER],
    ['a function', async () => undefined],
    ['a function that says null', (async () => null) as never],
  ])('that nobody has is reported as that by %s (HDL-06, HDL-08, HDL-11)', async (_what, resolver) => {
    network.handles.set(ALICE.handle, {})
    await expect(createClient(resolver).authorize(ALICE.handle)).rejects.toMatchObject({
      code: 'handle_not_found',
      handle: ALICE.handle,
      retryable: false,
    })
    expectNothingAfterResolution()
  })

  test('is asked of the next resolver when the one before throws (HDL-05)', async () => {
    const broken = async () => {
      throw new Error('This resolver is broken')
    }
    const session = await signInTo(network, createClient([broken, wellKnown]), ALICE.handle)
    expect(session.did).toBe(ALICE.did)
  })

  test.each([
    ['DNS', 'did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK', dns],
    ['DNS', 'did:plc:tooshort', dns],
    ['DNS', 'alice', dns],
    ['its own host', 'did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK', wellKnown],
    ['its own host', 'did:web:alice.dev:path', wellKnown],
    ['its own host', 'Welcome to Alice', wellKnown],
    ['an XRPC service', 'did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK', RESOLVER],
    ['an XRPC service', 'did:web:alice.local', RESOLVER],
    ['an XRPC service', ALICE.did.toUpperCase(), RESOLVER],
    ['a function', 'did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK', async () => 'did:key:z6Mk'],
    ['a function', 'no DID', async () => 'no DID'],
  ])('is not resolved by %s to %s (HDL-12)', async (_who, did, resolver) => {
    network.handles.set(ALICE.handle, { dns: [`did=${did}`], wellKnown: did, xrpc: did })
    const error = await createClient(resolver)
      .authorize(ALICE.handle)
      .then(String, (reason) => reason)
    // What was typed is a handle: the answer is wrong, and the error must not blame the person.
    expect(['did_unsupported', 'handle_not_found', 'response_invalid']).toContain(error.code)
    expectNothingAfterResolution()
  })
})

describe('the well-known file', () => {
  test('is read from the https port of the handle, without cookies (HDL-08)', async () => {
    await createClient(wellKnown).authorize(ALICE.handle)
    const [request] = network.requests(at.wellKnown)
    expect(request).toMatchObject({
      method: 'GET',
      url: 'https://alice.handles.dev/.well-known/atproto-did',
      credentials: 'omit',
    })
    network.assertClean()
  })

  test.each([
    ['ends with a line feed', faults.text(`${ALICE.did}\n`)],
    ['has white space around it', faults.text(` \t${ALICE.did} \r\n`)],
    ['has further lines', faults.text(`${ALICE.did}\nsecond line\n`)],
    ['is text/html', faults.text(ALICE.did, 'text/html')],
    ['is an octet stream', faults.text(ALICE.did, 'application/octet-stream')],
    ['has no type', () => new Response(new TextEncoder().encode(ALICE.did))],
    ['has status 203', faults.text(ALICE.did, 'text/plain', 203)],
    ['has 2 KiB', faults.text(`${ALICE.did}\n`.padEnd(2048, 'x'))],
  ])('counts when it %s (HDL-08)', async (_what, fault) => {
    network.on(at.wellKnown, fault, { times: 1 })
    expect((await signInTo(network, createClient(wellKnown), ALICE.handle)).did).toBe(ALICE.did)
    network.assertClean()
  })

  test.each([
    ['has status 204', faults.status(204), 'response_invalid'],
    ['is empty', faults.text(''), 'response_invalid'],
    ['begins with an empty line', faults.text('\n'), 'response_invalid'],
    ['has status 404', faults.text(ALICE.did, 'text/plain', 404), 'handle_not_found'],
    ['has status 410', faults.text(ALICE.did, 'text/plain', 410), 'handle_not_found'],
    ['has status 403', faults.text(ALICE.did, 'text/plain', 403), 'response_invalid'],
    ['has status 500', faults.text(ALICE.did, 'text/plain', 500), 'response_invalid'],
    ['is unreachable', faults.unreachable(), 'network_failed'],
  ])('does not count when it %s (HDL-08)', async (_what, fault, code) => {
    network.on(at.wellKnown, fault, { times: 1 })
    await expect(createClient(wellKnown).authorize(ALICE.handle)).rejects.toMatchObject({ code })
    expectNothingAfterResolution()
    network.assertClean()
  })

  test('is not read past 2 KiB (HDL-08, DID-12)', async () => {
    network.on(at.wellKnown, faults.endlessBody('text/plain', `${ALICE.did}\n`.padEnd(512)), { times: 1 })
    await expect(createClient(wellKnown).authorize(ALICE.handle)).rejects.toMatchObject({
      code: 'response_invalid',
    })
    const [request] = network.requests(at.wellKnown)
    expect(request?.bytesDelivered).toBeLessThanOrEqual(2048 + 512)
    expect(request?.bodyCancelled).toBe(true)
  })

  test('may be behind redirects (HDL-09)', async () => {
    network.handles.set('www.handles.dev', { wellKnown: ALICE.did })
    const first = 'https://files.handles.dev/.well-known/atproto-did'
    const last = 'https://www.handles.dev/.well-known/atproto-did'
    network.on({ origin: 'https://alice.handles.dev' }, faults.redirectTo(first), { times: 1 })
    network.on({ origin: 'https://files.handles.dev' }, faults.redirectTo(last, 307), { times: 1 })
    expect((await signInTo(network, createClient(wellKnown), ALICE.handle)).did).toBe(ALICE.did)
    expect(network.requests(at.wellKnown).every(({ credentials }) => credentials === 'omit')).toBe(true)
    network.assertClean()
  })

  test('may be behind few redirects only (HDL-09)', async () => {
    const loop = network.on(
      at.wellKnown,
      faults.redirectTo('https://alice.handles.dev/.well-known/atproto-did'),
    )
    await expect(createClient(wellKnown).authorize(ALICE.handle)).rejects.toMatchObject({
      code: 'network_failed',
    })
    expect(loop.calls).toBeLessThanOrEqual(21)
    expectNothingAfterResolution()
  })

  test('does not count when a redirect left https (HDL-09)', async () => {
    const insecure = 'http://alice.handles.dev/.well-known/atproto-did'
    network.on({ origin: 'https://alice.handles.dev' }, faults.redirectTo(insecure), { times: 1 })
    await expect(createClient(wellKnown).authorize(ALICE.handle)).rejects.toMatchObject({
      code: 'response_invalid',
    })
    expectNothingAfterResolution()
  })
})

describe('an XRPC resolver', () => {
  test('is asked for the handle at the method of that name (HDL-11)', async () => {
    await createClient(`${RESOLVER}/`).authorize(ALICE.handle)
    const [request] = network.requests(at.resolver)
    expect(request?.url).toBe(`${RESOLVER}/xrpc/com.atproto.identity.resolveHandle?handle=${ALICE.handle}`)
    expect(request?.headers.get('accept')).toContain('application/json')
    network.assertClean()
  })

  test.each([
    ['InvalidRequest', { error: 'InvalidRequest', message: 'Unable to resolve handle' }],
    ['HandleNotFound', { error: 'HandleNotFound', message: 'x' }],
    ['nothing else', undefined],
  ])('does not know a handle if it says 400 and %s (HDL-11)', async (_name, body) => {
    network.on(at.resolver, faults.status(400, body), { times: 1 })
    await expect(createClient(RESOLVER).authorize(ALICE.handle)).rejects.toMatchObject({
      code: 'handle_not_found',
    })
    expectNothingAfterResolution()
    network.assertClean()
  })

  test.each([
    ['answers 500', faults.status(500, { error: 'InternalServerError' }), 'response_invalid', true],
    ['answers 503', faults.status(503), 'response_invalid', true],
    ['answers 429', faults.status(429), 'response_invalid', true],
    ['answers 404', faults.status(404), 'response_invalid', false],
    ['answers 401', faults.status(401, { error: 'AuthMissing' }), 'response_invalid', false],
    ['answers with a page', faults.html(), 'response_invalid', false],
    ['names no DID', faults.answer({}), 'response_invalid', false],
    ['names a DID that is no string', faults.answer({ did: [ALICE.did] }), 'response_invalid', false],
    ['answers with an array', faults.answer([ALICE.did]), 'response_invalid', false],
    ['answers with null', faults.answer(null), 'response_invalid', false],
    ['answers with broken JSON', faults.text('{"did":', 'application/json'), 'response_invalid', false],
    ['redirects', faults.redirectTo(`${EVIL}/xrpc/x`), 'response_invalid', false],
    ['never ends', faults.endlessBody(), 'response_invalid', false],
    ['cannot be reached', faults.unreachable(), 'network_failed', true],
  ])(
    'that %s is no evidence that there is no such handle (HDL-11)',
    async (_what, fault, code, retryable) => {
      network.on(at.resolver, fault, { times: 1 })
      await expect(createClient(RESOLVER).authorize(ALICE.handle)).rejects.toMatchObject({ code, retryable })
      expectNothingAfterResolution()
      expect(network.count(at.evil)).toBe(0)
      network.assertClean()
    },
  )

  test('is not read past 4 KiB (DID-12)', async () => {
    network.on(at.resolver, faults.endlessBody(), { times: 1 })
    await expect(createClient(RESOLVER).authorize(ALICE.handle)).rejects.toMatchObject({
      code: 'response_invalid',
    })
    const [request] = network.requests(at.resolver)
    expect(request?.bytesDelivered).toBeLessThanOrEqual(4096 + 1024)
    expect(request?.bodyCancelled).toBe(true)
  })

  test('is waited for four seconds, to begin and to end its answer (DID-12)', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const client = createClient(RESOLVER)
    const timedOut = {
      code: 'timed_out',
      timeoutMs: 4000,
      url: `${RESOLVER}/xrpc/com.atproto.identity.resolveHandle`,
    }
    const silence = faults.hold()
    network.on(at.resolver, silence.handler, { times: 1 })
    const silent = expect(client.authorize(ALICE.handle)).rejects.toMatchObject(timedOut)
    await silence.reached
    await vi.advanceTimersByTimeAsync(4000)
    await silent

    network.on(at.resolver, faults.stalledBody(), { times: 1 })
    const stalled = expect(client.authorize(ALICE.handle)).rejects.toMatchObject(timedOut)
    await network.settled(at.resolver, 2)
    await vi.advanceTimersByTimeAsync(4000)
    await stalled

    expect(network.requests(at.resolver).map(({ signal }) => signal.aborted)).toEqual([true, true])
    expectNothingAfterResolution()
  })
})

describe('the DID that a handle leads to', () => {
  test.each([
    ['claims another one', ['at://bob.handles.dev']],
    ['claims none', []],
    ['claims it second', ['at://bob.handles.dev', `at://${ALICE.handle}`]],
    ['claims a longer one', [`at://${ALICE.handle}.evil.dev`]],
    ['claims it with a path', [`at://${ALICE.handle}/profile`]],
  ])('ends the sign-in before the PDS if its document %s (HDL-13, B01)', async (_what, alsoKnownAs) => {
    network.on(
      at.plc,
      faults.changeJson((document) => ({ ...document, alsoKnownAs })),
    )
    await expect(createClient(RESOLVER).authorize(ALICE.handle)).rejects.toMatchObject({
      code: 'handle_mismatch',
      handle: ALICE.handle,
      did: ALICE.did,
      retryable: false,
    })
    expect(
      network.count(at.resourceMetadata) + network.count(at.issuerMetadata) + network.count(at.par),
    ).toBe(0)
    network.assertClean()
  })

  test('ends the sign-in if somebody lets their name point to it (HDL-13, B01)', async () => {
    network.handles.set('mallory.handles.dev', { xrpc: BOB.did })
    const client = createClient(RESOLVER)
    await expect(client.authorize('mallory.handles.dev')).rejects.toMatchObject({ code: 'handle_mismatch' })
    expect(client.session).toBeUndefined()
    expect(network.count(at.par)).toBe(0)
  })
})

test('a resolver of the app that never answers is waited for ten seconds (STO-10)', async () => {
  let begin = () => {}
  const begun = new Promise<void>((resolve) => {
    begin = resolve
  })
  const handleResolver = () => {
    begin()
    return new Promise<undefined>(() => {})
  }
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  try {
    const failure = failureOf(network, createTestClient(network, { handleResolver }).authorize(ALICE.handle))
    await begun
    await vi.advanceTimersByTimeAsync(10_000)
    expect(await failure).toMatchObject({ code: 'timed_out', timeoutMs: 10_000 })
  } finally {
    vi.useRealTimers()
  }
})
