import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createTestClient, signInTo } from '../support/client.ts'
import {
  ALICE,
  at,
  BOB,
  createFakeNetwork,
  DOH,
  type FakeNetwork,
  faults,
  PLC,
  RESOLVER,
} from '../support/network.ts'

const HEAD_START_MS = 500
const GRACE_MS = 1_500
const LOOKUP_MS = 4_000

let network: FakeNetwork
beforeEach(() => {
  network = createFakeNetwork()
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
})
afterEach(() => {
  vi.useRealTimers()
})

const dns = { type: 'dns', url: DOH } as const
const wellKnown = { type: 'well-known' } as const
const createClient = () => createTestClient(network, { handleResolver: [dns, wellKnown] })
const documentsAsked = () => network.requests(at.plc).map(({ url }) => url)

describe('resolvers of a list', () => {
  test('are not asked when the one before them knows (HDL-10)', async () => {
    await createClient().authorize(ALICE.handle)
    expect(network.count(at.doh)).toBe(1)
    expect(network.count(at.wellKnown)).toBe(0)
  })

  test.each([
    ['fails', faults.status(503)],
    ['does not know', faults.answer({ Status: 3 }, { headers: { 'content-type': 'application/dns-json' } })],
    ['cannot be reached', faults.unreachable()],
  ])('are asked at once when the one before them %s (HDL-10)', async (_what, fault) => {
    network.on(at.doh, fault, { times: 1 })
    await createClient().authorize(ALICE.handle)
    expect(network.count(at.wellKnown)).toBe(1)
  })

  test('are asked half a second after the one before them, if that is silent (HDL-10)', async () => {
    const silence = faults.hold()
    network.on(at.doh, silence.handler)
    const request = createClient().authorize(ALICE.handle)
    await silence.reached
    await vi.advanceTimersByTimeAsync(HEAD_START_MS - 1)
    expect(network.count(at.wellKnown)).toBe(0)
    await vi.advanceTimersByTimeAsync(1)
    await network.settled(at.wellKnown)
    silence.release()
    await request
  })

  test('that disagree are believed in their order, whoever answers first (HDL-10, B02)', async () => {
    network.handles.set(ALICE.handle, { dns: [`did=${ALICE.did}`], wellKnown: BOB.did })
    const late = faults.hold()
    network.on(at.doh, late.handler)
    const client = createClient()
    const request = client.authorize(ALICE.handle)
    await late.reached
    await vi.advanceTimersByTimeAsync(HEAD_START_MS)
    await network.settled(at.wellKnown)
    await vi.advanceTimersByTimeAsync(GRACE_MS - 1)
    expect(documentsAsked()).toEqual([])
    late.release()
    const session = await client.handleCallback(network.approve((await request).url))
    expect(session.account).toMatchObject({ did: ALICE.did, handle: ALICE.handle })
    expect(documentsAsked()).not.toContain(`${PLC}/${BOB.did}`)
    network.assertClean()
  })

  test('that disagree are believed in their order when the first one is fast (HDL-10, B02)', async () => {
    network.handles.set(ALICE.handle, { dns: [`did=${ALICE.did}`], wellKnown: BOB.did })
    expect((await signInTo(network, createClient(), ALICE.handle)).did).toBe(ALICE.did)
    expect(documentsAsked()).not.toContain(`${PLC}/${BOB.did}`)
  })

  test('that answer are waited out for by those before them no longer than a moment (HDL-10)', async () => {
    const silence = faults.hold()
    network.on(at.doh, silence.handler)
    const client = createClient()
    const request = client.authorize(ALICE.handle)
    await silence.reached
    await vi.advanceTimersByTimeAsync(HEAD_START_MS)
    await network.settled(at.wellKnown)
    await vi.advanceTimersByTimeAsync(GRACE_MS)
    expect((await client.handleCallback(network.approve((await request).url))).did).toBe(ALICE.did)
    // Nobody waits for the answer any more.
    expect(network.requests(at.doh)[0]?.signal.aborted).toBe(true)
  })

  test('take less than six seconds all together when none of them answers (B06, DID-12)', async () => {
    const [first, second] = [faults.hold(), faults.hold()]
    network.on(at.doh, first.handler)
    network.on(at.wellKnown, second.handler)
    const refusal = expect(createClient().authorize(ALICE.handle)).rejects.toMatchObject({
      code: 'timed_out',
      retryable: true,
    })
    await first.reached
    await vi.advanceTimersByTimeAsync(HEAD_START_MS)
    await second.reached
    await vi.advanceTimersByTimeAsync(LOOKUP_MS)
    await refusal
    expect(network.count(at.plc)).toBe(0)
  })

  test('that never end are made up for by the next (B06)', async () => {
    network.on(at.doh, faults.stalledBody('application/dns-json'))
    const client = createClient()
    const request = client.authorize(ALICE.handle)
    await network.settled(at.doh)
    await vi.advanceTimersByTimeAsync(HEAD_START_MS)
    await network.settled(at.wellKnown)
    await vi.advanceTimersByTimeAsync(GRACE_MS)
    expect((await client.handleCallback(network.approve((await request).url))).did).toBe(ALICE.did)
  })
})

describe('a handle that was looked up', () => {
  const createClient = () => createTestClient(network, { handleResolver: RESOLVER })

  test('is not looked up again for the sign-in that follows at once (HDL-15)', async () => {
    const client = createClient()
    await client.prefetch(ALICE.handle)
    await client.authorize(ALICE.handle)
    expect(network.count(at.resolver)).toBe(1)
    expect(network.count(at.plc)).toBe(1)
  })

  test.each([10 * 60_000, 24 * 3_600_000, -10 * 60_000, -24 * 3_600_000])(
    'is looked up again %i ms later, document included (HDL-15)',
    async (ms) => {
      const client = createClient()
      await client.authorize(ALICE.handle)
      network.clock.advance(ms)
      await client.authorize(ALICE.handle)
      expect(network.count(at.resolver)).toBe(2)
      expect(network.count(at.plc)).toBe(2)
    },
  )

  test('is looked up again after a failure (HDL-15)', async () => {
    const client = createClient()
    network.on(at.resolver, faults.status(503), { times: 1 })
    await expect(client.authorize(ALICE.handle)).rejects.toMatchObject({ code: 'response_invalid' })
    expect((await signInTo(network, client, ALICE.handle)).did).toBe(ALICE.did)
    network.assertClean()
  })

  test('leads to its new owner five minutes after it was handed on; the old session stays what it was (B10)', async () => {
    const client = createClient()
    const before = await signInTo(network, client, ALICE.handle)
    network.clock.advance(5 * 60_000)
    network.handles.set(ALICE.handle, { xrpc: BOB.did })
    network.on(
      { role: 'plc', path: `/${BOB.did}` },
      faults.changeJson((document) => ({ ...document, alsoKnownAs: [`at://${ALICE.handle}`] })),
    )
    const after = await signInTo(network, client, ALICE.handle, { person: { as: BOB.did } })
    expect(after).toMatchObject({ did: BOB.did, account: { handle: ALICE.handle } })
    expect(before.did).toBe(ALICE.did)
    expect(client.accounts.map(({ did }) => did).sort()).toEqual([ALICE.did, BOB.did].sort())
    expect((await before.fetch('/xrpc/dev.signet.getThing')).status).toBe(200)
    expect(network.requests({ role: 'pds', path: '/xrpc/dev.signet.getThing' })[0]?.accessToken).toBe(
      network.sessions(ALICE.did)[0]?.accessToken,
    )
    network.assertClean()
  })
})
