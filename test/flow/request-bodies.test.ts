import { describe, expect, test } from 'vitest'
import { at, type FakeRequest, faults, PDS } from '../support/network.ts'
import { failureOf } from './failure.ts'
import { HOUR, MINUTE, PING, refreshes, type SignedIn, signedIn, warm } from './signed-in.ts'

const bytes = new Uint8Array([0, 1, 2, 250, 251, 252, 13, 10])
const form = (): FormData => {
  const data = new FormData()
  data.append('text', 'grüße')
  data.append('file', new File([bytes], 'a.bin', { type: 'application/octet-stream' }))
  return data
}
const stream = (): ReadableStream =>
  new ReadableStream({
    start(controller) {
      controller.enqueue(bytes)
      controller.enqueue(bytes)
      controller.close()
    },
  })

const BODIES: [name: string, init: () => RequestInit, type: string | null, size: number | undefined][] = [
  ['a string', () => ({ body: 'grüße' }), 'text/plain;charset=UTF-8', 7],
  ['an empty string', () => ({ body: '' }), 'text/plain;charset=UTF-8', 0],
  ['JSON', () => ({ body: '{}', headers: { 'content-type': 'application/json' } }), 'application/json', 2],
  ['a Blob', () => ({ body: new Blob([bytes], { type: 'image/png' }) }), 'image/png', 8],
  ['a Blob without a type', () => ({ body: new Blob([bytes]) }), null, 8],
  ['an ArrayBuffer', () => ({ body: bytes.buffer.slice(0) }), null, 8],
  ['a part of a buffer', () => ({ body: new Uint8Array(bytes.buffer, 2, 3) }), null, 3],
  ['a DataView', () => ({ body: new DataView(bytes.buffer, 1, 4) }), null, 4],
  ['words', () => ({ body: new Uint16Array([1, 2, 3]) }), null, 6],
  [
    'URLSearchParams',
    () => ({ body: new URLSearchParams({ a: 'b c', d: 'é' }) }),
    'application/x-www-form-urlencoded;charset=UTF-8',
    14,
  ],
  ['a form', () => ({ body: form() }), 'multipart/form-data', undefined],
  [
    'a stream',
    () => ({ body: stream(), headers: { 'content-type': 'video/mp4' }, duplex: 'half' }) as RequestInit,
    'video/mp4',
    16,
  ],
]

/** Two requests that carry the same thing, in another proof. */
function expectSame(first: FakeRequest | undefined, second: FakeRequest | undefined): void {
  expect(Buffer.from(second?.bytes ?? []).toString('hex')).toBe(
    Buffer.from(first?.bytes ?? []).toString('hex'),
  )
  const own = (request: FakeRequest | undefined) =>
    [...(request?.headers ?? [])].filter(([name]) => name !== 'dpop' && name !== 'authorization')
  expect(own(second)).toEqual(own(first))
  expect(second?.method).toBe(first?.method)
  expect(second?.proof?.payload.jti).not.toBe(first?.proof?.payload.jti)
}

function expectBody(request: FakeRequest | undefined, type: string | null, size: number | undefined): void {
  const sent = request?.headers.get('content-type') ?? null
  expect(type === 'multipart/form-data' ? sent?.split(';')[0] : sent).toBe(type)
  if (size !== undefined) expect(request?.bytes.byteLength).toBe(size)
}

describe.each(BODIES)('%s', (_name, init, type, size) => {
  test('is repeated identically when a nonce is asked for (DPOP-18, J16, J17)', async () => {
    const { network, session } = await warm()
    network.on(at.resource, faults.demandNonce(), { times: 1 })
    const before = network.count(at.resource)
    network.pds.world.nonces(PDS).rotate()
    await session.fetch(PING, { method: 'POST', ...init() })
    const [first, second] = network.requests(at.resource).slice(before)
    expectBody(first, type, size)
    expectSame(first, second)
    expect(network.count(at.resource) - before).toBe(2)
    expect(network.count(at.refresh)).toBe(0)
  })

  test('is repeated identically when the token had to be replaced (DPOP-18, J14, RS-05)', async () => {
    const { network, session } = await warm()
    network.clock.advance(MINUTE)
    network.expireAccessToken(session.did)
    const before = network.count(at.resource)
    expect((await session.fetch(PING, { method: 'POST', ...init() })).status).toBe(200)
    const [first, second] = network.requests(at.resource).slice(before)
    expectBody(second, type, size)
    expectSame(first, second)
    expect(network.count(at.resource) - before).toBe(2)
    expect(refreshes(network)).toBe(1)
    network.assertClean()
  })
})

test('the form that arrives is the form that was sent, after a repeat too (J16)', async () => {
  const { network, session } = await signedIn()
  expect((await session.fetch(PING, { method: 'POST', body: form() })).status).toBe(200)
  expect(network.count(at.resource)).toBe(2)
  const { bytes: sent, headers } = network.requests(at.resource)[1] as FakeRequest
  const received = await new Response(sent, {
    headers: { 'content-type': headers.get('content-type') ?? '' },
  }).formData()
  expect(received.get('text')).toBe('grüße')
  expect(Buffer.from(await (received.get('file') as File).arrayBuffer())).toEqual(Buffer.from(bytes))
})

test.each([
  ['stream', () => ({ body: stream(), duplex: 'half' })],
  ['Request', () => ({ body: 'hello' })],
])('the body of a Request made from a %s is repeated identically (RS-08, J06)', async (_name, init) => {
  const { network, session } = await signedIn()
  const request = new Request(`${PDS}${PING}`, { method: 'POST', ...init() } as RequestInit)
  expect((await session.fetch(request)).status).toBe(200)
  const [first, second] = network.requests(at.resource)
  expectSame(first, second)
  expect(second?.bytes.byteLength).toBeGreaterThan(0)
})

test.each([
  ['buffer', (shared: Uint8Array<ArrayBuffer>) => shared.buffer],
  ['view of one', (shared: Uint8Array<ArrayBuffer>) => shared],
])('a %s that changes between attempts is sent as it was (J16)', async (_name, bodyOf) => {
  const { network, session } = await warm()
  const first = faults.hold()
  network.on(at.resource, faults.demandNonce(), { times: 1 })
  network.on(at.resource, first.handler, { times: 1 })
  const before = network.count(at.resource)
  const shared = new Uint8Array([1, 2, 3])
  const request = session.fetch(PING, { method: 'POST', body: bodyOf(shared) })
  await first.reached
  shared.fill(9)
  first.release()
  await request
  for (const { bytes: sent } of network.requests(at.resource).slice(before))
    expect([...sent]).toEqual([1, 2, 3])
})

describe('a write', () => {
  test('whose nonce was refused is sent once more, never a third time (J17, DPOP-17)', async () => {
    const { network, session } = await warm()
    let effects = 0
    network.on(at.resource, (request, next) => {
      effects++
      return faults.nonceLoop()(request, next)
    })
    expect((await session.fetch(PING, { method: 'POST', body: '{}' })).status).toBe(401)
    expect(effects).toBe(2)
  })

  test.each([
    ['never arrived', faults.unreachable()],
    ['was done, and its answer lost', faults.loseAnswer()],
  ])('that %s is not repeated (RS-10)', async (_name, handler) => {
    const { network, session } = await warm()
    network.on(at.resource, handler)
    const before = network.count(at.resource)
    const error = await failureOf(network, session.fetch(PING, { method: 'POST', body: '{}' }))
    expect(error).toMatchObject({ code: 'network_failed', retryable: true })
    expect(network.count(at.resource) - before).toBe(1)
  })

  test.each([429, 500, 502, 503])(
    'that is answered %i is not repeated, and the answer is the app’s (RS-10)',
    async (status) => {
      const { network, session } = await warm()
      network.on(at.resource, faults.status(status, { error: 'Busy' }, { 'retry-after': '30' }))
      const before = network.count(at.resource)
      const response = await session.fetch(PING, { method: 'POST', body: '{}' })
      expect(response.status).toBe(status)
      expect(response.headers.get('retry-after')).toBe('30')
      expect(network.count(at.resource) - before).toBe(1)
      expect(network.count(at.refresh)).toBe(0)
    },
  )
})

describe('an aborted call ends with the reason of its signal', () => {
  const reason = new Error('not any more')

  const expectAborted = async ({ network }: SignedIn, request: Promise<unknown>, sent: number) => {
    await expect(request).rejects.toBe(reason)
    expect(network.count(at.resource)).toBe(sent)
  }

  test('and without a request when it was aborted before (J18)', async () => {
    const context = await signedIn()
    await expectAborted(context, context.session.fetch(PING, { signal: AbortSignal.abort(reason) }), 0)
  })

  test('and without a refresh when it was aborted before (J18)', async () => {
    const context = await warm()
    context.network.clock.advance(2 * HOUR)
    const before = context.network.count(at.resource)
    await expectAborted(context, context.session.fetch(PING, { signal: AbortSignal.abort(reason) }), before)
    expect(context.session.status).toBe('active')
    expect(context.network.count(at.refresh)).toBe(0)
  })

  test('while it waits for its answer (J18)', async () => {
    const context = await warm()
    const answer = faults.hold()
    context.network.on(at.resource, answer.handler)
    const before = context.network.count(at.resource)
    const stop = new AbortController()
    const request = context.session.fetch(PING, { signal: stop.signal })
    await answer.reached
    stop.abort(reason)
    await expectAborted(context, request, before + 1)
  })

  test('while it waits for the first nonce (J18)', async () => {
    const context = await signedIn()
    const first = faults.hold()
    context.network.on(at.resource, first.handler, { times: 1 })
    const ahead = context.session.fetch(PING)
    await first.reached
    const stop = new AbortController()
    const request = context.session.fetch(PING, { signal: stop.signal })
    // One turn, and it stands in line.
    await new Promise(setImmediate)
    const aborted = expect(request).rejects.toBe(reason)
    stop.abort(reason)
    first.release()
    await ahead
    await aborted
    expect(context.network.count(at.resource)).toBe(2)
  })

  test('between a nonce challenge and the repeat (J18)', async () => {
    const context = await signedIn()
    const challenge = faults.hold({ after: true })
    context.network.on(at.resource, challenge.handler)
    const stop = new AbortController()
    const request = context.session.fetch(PING, { signal: stop.signal })
    await challenge.reached
    stop.abort(reason)
    challenge.release()
    await expectAborted(context, request, 1)
  })

  test('while its body is on the way (J18)', async () => {
    const context = await warm()
    context.network.on(at.resource, faults.stalledBody())
    const stop = new AbortController()
    const response = await context.session.fetch(PING, { signal: stop.signal })
    const text = response.text()
    stop.abort(reason)
    await expect(text).rejects.toBe(reason)
  })

  test.each([
    ['its options', (signal: AbortSignal) => [PING, { signal }] as const],
    ['its Request', (signal: AbortSignal) => [new Request(`${PDS}${PING}`, { signal })] as const],
  ])('while it waits for a refresh, the signal being in %s (J18, REF-06, I15)', async (_name, call) => {
    const context = await warm()
    const { network, client, session } = context
    network.clock.advance(2 * HOUR)
    const refresh = faults.hold()
    network.on(at.refresh, refresh.handler)
    const stop = new AbortController()
    const before = network.count(at.resource)
    const [input, init] = call(stop.signal)
    const request = session.fetch(input, init)
    await refresh.reached
    stop.abort(reason)
    await expectAborted(context, request, before)

    const { expiresAt } = session
    refresh.release()
    await session.refresh()
    expect(refreshes(network)).toBe(1)
    expect(session.expiresAt).not.toBe(expiresAt)
    expect(client.session?.status).toBe('active')
    network.assertClean()
  })
})

test.each([
  ['a GET with a body', { body: '{}' }],
  ['a HEAD with a body', { method: 'head', body: new Blob(['x']) }],
  ['CONNECT', { method: 'connect' }],
  ['TRACE', { method: 'TRACE' }],
  ['no method', { method: '' }],
  ['two words', { method: 'CON NECT' }],
])('what fetch itself would not send is a mistake of the caller: %s (RS-08)', async (_what, init) => {
  const { network, session } = await warm()
  const before = network.log.length
  await expect(session.fetch(PING, init)).rejects.toThrow(TypeError)
  expect(network.log).toHaveLength(before)
})

describe('a Request', () => {
  test('keeps its body where it has no property of that name, as in Firefox (RS-08)', async () => {
    const { network, session } = await warm()
    const request = new Request(`${PDS}${PING}`, { method: 'POST', body: 'hello' })
    Object.defineProperty(request, 'body', { value: undefined })
    await session.fetch(request)
    expect(network.requests({ ...at.resource, method: 'POST' }).at(-1)?.text).toBe('hello')
  })

  test('is not undone by members that are undefined (RS-08)', async () => {
    const { network, session } = await warm()
    const request = new Request(`${PDS}${PING}`, { method: 'POST', headers: { 'x-own': '1' } })
    const init = { method: undefined, headers: undefined } as unknown as RequestInit
    await session.fetch(request, init)
    expect(network.log.at(-1)).toMatchObject({ method: 'POST' })
    expect(network.log.at(-1)?.headers.get('x-own')).toBe('1')
  })
})

describe('an aborted call waits for nothing', () => {
  test('that its stream might still say (J18)', async () => {
    const { session } = await warm()
    const stop = new AbortController()
    const body = new ReadableStream({ start: (stream) => stream.enqueue(new Uint8Array(3)) })
    const init = { method: 'POST', body, signal: stop.signal, duplex: 'half' } as RequestInit
    const sent = session.fetch(PING, init)
    stop.abort(new Error('enough'))
    await expect(sent).rejects.toThrow('enough')
  })

  test('of a request that is to bring the first nonce (J18)', async () => {
    const { network, session } = await signedIn()
    const held = faults.hold()
    network.on(at.resource, held.handler)
    const first = session.fetch(PING)
    await held.reached
    const stop = new AbortController()
    const settled: string[] = []
    const second = session.fetch(PING, { signal: stop.signal }).catch(() => settled.push('second'))
    stop.abort()
    await second
    held.release()
    await first.then(() => settled.push('first'))
    expect(settled).toEqual(['second', 'first'])
  })
})
