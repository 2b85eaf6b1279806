import { afterEach, describe, expect, test, vi } from 'vitest'
import type { OAuthClient, Session } from '../../src/index.ts'
import { createTestClient, signInTo } from '../support/client.ts'
import type { Handler } from '../support/faults.ts'
import {
  ALICE,
  at,
  CLIENT_ID,
  createFakeNetwork,
  type FakeNetwork,
  faults,
  type RequestMatch,
} from '../support/network.ts'
import { failureOf } from './failure.ts'
import { HOUR, moveDeviceClock, SECOND } from './signed-in.ts'

afterEach(() => {
  vi.useRealTimers()
})

interface Stage {
  network: FakeNetwork
  client: OAuthClient
  session: () => Promise<Session>
}

const authorize = ({ client }: Stage): Promise<unknown> => client.authorize(ALICE.handle)
const signIn = ({ network, client }: Stage): Promise<unknown> => signInTo(network, client, ALICE.handle)

const CALLS: [name: string, match: RequestMatch, limit: number, call: (stage: Stage) => Promise<unknown>][] =
  [
    ['for resolving a handle', at.resolver, 6 * SECOND, authorize],
    ['for reading a DID document', at.plc, 5 * SECOND, authorize],
    ['for reading the metadata of a PDS', at.resourceMetadata, 5 * SECOND, authorize],
    ['for reading the metadata of an issuer', at.issuerMetadata, 5 * SECOND, authorize],
    ['for reading the client’s own metadata', { role: 'app', method: 'GET' }, 10 * SECOND, authorize],
    ['for pushing a request', at.par, 15 * SECOND, authorize],
    ['for exchanging a code', at.exchange, 30 * SECOND, signIn],
    ['for refreshing', at.refresh, 30 * SECOND, async ({ session }) => (await session()).refresh()],
  ]

const HANGING: [name: string, handler: () => Handler][] = [
  ['that is never answered', faults.hang],
  ['whose answer stalls', faults.stalledBody],
]

describe.each(HANGING)('a request %s', (_how, handler) => {
  test.each(CALLS)('%s ends in an error in time (STO-10)', async (_name, match, limit, call) => {
    const network = createFakeNetwork()
    const client = createTestClient(network, { clientMetadata: CLIENT_ID })
    const session = () => signInTo(network, client, ALICE.handle)
    const reached = new Promise<void>((resolve) => {
      network.on(match, (request, next) => {
        resolve()
        return handler()(request, next)
      })
    })
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const failed = failureOf(network, call({ network, client, session }))
    await reached
    await vi.advanceTimersByTimeAsync(limit)
    expect((await failed).code).toMatch(/^(timed_out|handle_not_found)$/)
  })
})

test('look-ups that are slow one after another end in an error after 15 seconds (STO-10)', async () => {
  const network = createFakeNetwork()
  const client = createTestClient(network)
  const after = (ms: number): Handler => {
    return async (_request, next) => {
      await new Promise((resolve) => setTimeout(resolve, ms))
      return next()
    }
  }
  network.on(at.resolver, after(3_900))
  network.on(at.plc, after(4_900))
  network.on(at.resourceMetadata, after(4_900))
  network.on(at.issuerMetadata, after(4_900))
  network.alias('https://slow.signet.dev', 'as')
  network.on(
    at.resourceMetadata,
    faults.changeJson((document) => ({ ...document, authorization_servers: ['https://slow.signet.dev'] })),
  )
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  let elapsed = 0
  const failed = failureOf(network, client.authorize(ALICE.handle)).finally(() => {
    vi.useRealTimers()
  })
  let outcome: unknown
  void failed.then((error) => {
    outcome = error
  })
  for (; !outcome && elapsed < 30_000; elapsed += 100) {
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
    await vi.advanceTimersByTimeAsync(100)
  }
  expect(await failed).toMatchObject({ code: 'timed_out', timeoutMs: 15_000, url: ALICE.handle })
  expect(elapsed).toBeLessThan(16_000)
})

test.each(HANGING)(
  'a revocation %s is given up after five seconds (STO-10, REV-01)',
  async (_name, handler) => {
    const network = createFakeNetwork()
    const client = createTestClient(network)
    await signInTo(network, client, ALICE.handle)
    const reached = new Promise<void>((resolve) => {
      network.on(at.revoke, (request, next) => {
        resolve()
        return handler()(request, next)
      })
    })
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const done = client.signOut()
    await reached
    await vi.advanceTimersByTimeAsync(5 * SECOND)
    expect(await done).toBeUndefined()
    expect(client.accounts).toEqual([])
  },
)

test.each(HANGING)(
  'a look at the clock %s is given up after five seconds (STO-10, DPOP-23)',
  async (_name, handler) => {
    const network = createFakeNetwork()
    const session = await signInTo(network, createTestClient(network), ALICE.handle)
    moveDeviceClock(network, HOUR)
    const reached = new Promise<void>((resolve) => {
      network.on({ role: 'app', method: 'HEAD' }, (request, next) => {
        resolve()
        return handler()(request, next)
      })
    })
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const failed = failureOf(network, session.refresh())
    await reached
    await vi.advanceTimersByTimeAsync(5 * SECOND)
    expect((await failed).code).toBe('dpop_rejected')
  },
)
