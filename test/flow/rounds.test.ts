import { setImmediate as macrotask } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { createTestClient } from '../support/client.ts'
import {
  ALICE,
  AS,
  at,
  CLIENT_ID,
  createFakeNetwork,
  type FakeNetwork,
  type FakeNetworkOptions,
  type FakeRequest,
  faults,
  PDS,
  PLC,
} from '../support/network.ts'

let network: FakeNetwork
afterEach(() => network.assertClean())

/**
 * A network that counts rounds: a request made after another was answered is one round later. Answers
 * take a while, so that requests made side by side are seen side by side.
 */
function start(options: FakeNetworkOptions = {}) {
  network = createFakeNetwork(options)
  const answered: { request: FakeRequest; round: number }[] = []
  const rounds = new Map<FakeRequest, number>()
  network.on({}, async (request, next) => {
    const round = 1 + Math.max(0, ...answered.map((earlier) => earlier.round))
    rounds.set(request, round)
    for (let turn = 0; turn < 20; turn++) await macrotask()
    const response = await next()
    answered.push({ request, round })
    return response
  })
  return {
    network,
    client: createTestClient(network),
    /** What was asked in each round since `from`, preflights counted as rounds of their own. */
    rounds: (from = 0) => {
      const requests = network.log.slice(from)
      const first = Math.min(...requests.map((request) => rounds.get(request) ?? 0))
      const all: string[][] = []
      for (const request of requests) {
        const index = (rounds.get(request) ?? 0) - first
        all[index] = [...(all[index] ?? []), `${request.method} ${request.path}`]
      }
      return { all, preflights: requests.filter(needsPreflight).length }
    },
  }
}

function needsPreflight({ headers, method }: FakeRequest): boolean {
  const type = headers.get('content-type') ?? 'text/plain'
  const safe = ['accept', 'accept-language', 'content-language', 'content-type']
  return (
    !['GET', 'HEAD', 'POST'].includes(method) ||
    !/^(application\/x-www-form-urlencoded|multipart\/form-data|text\/plain)/.test(type) ||
    [...headers.keys()].some((name) => !safe.includes(name))
  )
}

const METADATA = ['GET /.well-known/oauth-authorization-server', 'GET /.well-known/oauth-protected-resource']

describe('from a handle to the sign-in page', () => {
  test('there are four rounds without a preflight, when nothing is known (PRM-06, PAR-10)', async () => {
    const { client, rounds } = start({ standalone: true })
    await client.authorize(ALICE.handle)
    expect(rounds()).toEqual({
      all: [
        ['GET /xrpc/com.atproto.identity.resolveHandle'],
        [`GET /${ALICE.did}`],
        METADATA,
        ['POST /oauth/par'],
      ],
      preflights: 0,
    })
  })

  test('there is one more where the PDS has its issuer elsewhere (PRM-06, PAR-10)', async () => {
    const { client, rounds } = start()
    await client.authorize(ALICE.handle)
    const { all, preflights } = rounds()
    expect(all).toHaveLength(5)
    expect(all.slice(2)).toEqual([METADATA, [METADATA[0]], ['POST /oauth/par']])
    expect(preflights).toBe(0)
  })

  test.each([{ standalone: true }, {}])(
    'there is one round after prefetch(): %j (PAR-10)',
    async (options) => {
      const { client, rounds } = start(options)
      await client.prefetch(ALICE.handle)
      const from = network.log.length
      await client.authorize(ALICE.handle)
      expect(rounds(from)).toEqual({ all: [['POST /oauth/par']], preflights: 0 })
    },
  )

  test('prefetch() that is still under way is waited for, not repeated', async () => {
    const { client, rounds } = start({ standalone: true })
    await Promise.all([client.prefetch(ALICE.handle), client.authorize(ALICE.handle)])
    expect(rounds().all).toHaveLength(4)
    expect(network.log).toHaveLength(5)
  })

  test('a client document that has to be fetched takes no round of its own', async () => {
    const { rounds } = start({ standalone: true })
    await createTestClient(network, { clientMetadata: CLIENT_ID }).authorize(ALICE.handle)
    expect(rounds().all).toHaveLength(4)
    expect(rounds().all[0]).toContain(`GET ${new URL(CLIENT_ID).pathname}`)
  })

  test('a DID is one round shorter, and a server two', async () => {
    const { client, rounds } = start({ standalone: true })
    await client.authorize(ALICE.did)
    expect(rounds().all).toHaveLength(3)
    const other = start({ standalone: true })
    await other.client.authorize(PDS)
    expect(other.rounds().all).toHaveLength(2)
  })
})

describe('from the callback to the session', () => {
  test.each([
    ['handle', ALICE.handle],
    ['DID', ALICE.did],
  ])(
    'begun with a %s, there is one request, its preflight, and the DID document beside it (TOK-09)',
    async (_name, identifier) => {
      const { client, rounds } = start()
      const { url } = await client.authorize(identifier)
      const callback = network.approve(url)
      const from = network.log.length
      // Held until the other one is done: so they overlap, however long it takes to sign a proof.
      const document = faults.hold()
      network.on(at.plc, document.handler)
      const finishing = client.handleCallback(callback)
      await network.settled(at.exchange)
      document.release()
      const session = await finishing
      expect(session.did).toBe(ALICE.did)
      const answered = network.log.slice(from).filter(({ outcome }) => outcome === 'answered')
      expect(answered.map(({ path }) => path).sort()).toEqual([`/${ALICE.did}`, '/oauth/token'])
      expect(rounds(from).preflights).toBe(1)
    },
  )

  test('begun with the PDS, there are three more rounds at most (TOK-10)', async () => {
    const { client, rounds } = start({ standalone: true })
    const { url } = await client.authorize(PDS)
    const callback = network.approve(url)
    const from = network.log.length
    await client.handleCallback(callback)
    const asked = rounds(from).all.flat()
    expect(asked.slice(0, 2)).toEqual(['POST /oauth/token', `GET /${ALICE.did}`])
    expect(rounds(from).all.length).toBeLessThanOrEqual(4)
  })

  test('a sign-in by handle asks nothing in the background afterwards', async () => {
    const { client } = start()
    const { url } = await client.authorize(ALICE.handle)
    const callback = network.approve(url)
    const from = network.log.length
    await client.handleCallback(callback)
    for (let turn = 0; turn < 100; turn++) await macrotask()
    expect(
      network.log
        .slice(from)
        .map(({ origin }) => origin)
        .sort(),
    ).toEqual([AS, PLC])
  })
})
