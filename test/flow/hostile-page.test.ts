import { beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { createTestClient } from '../support/client.ts'
import {
  ALICE,
  at,
  createFakeNetwork,
  EVIL,
  type FakeNetwork,
  faults,
  REDIRECT_URI,
} from '../support/network.ts'
import { openPage } from './page.ts'

type Json = Record<string, unknown>

let network: FakeNetwork
// Loads what is only loaded for a sign-in: modules that a page loads are not the subject here.
beforeAll(() => createTestClient(createFakeNetwork()).prefetch(''))
beforeEach(() => {
  network = createFakeNetwork()
})

/** What a browser's `fetch` reads out of its second argument, inherited or not. */
const REQUEST_OPTIONS = [
  ...['method', 'headers', 'body', 'mode', 'credentials', 'redirect', 'referrerPolicy', 'referrer', 'cache'],
  ...['signal', 'keepalive', 'integrity', 'duplex'],
] as const

/** Puts properties on `Object.prototype`, except while the network is at work: that is no part of the page. */
function pollute(properties: PropertyDescriptorMap) {
  let requests = 0
  const set = () => {
    for (const [name, descriptor] of Object.entries(properties))
      Object.defineProperty(Object.prototype, name, { enumerable: true, ...descriptor, configurable: true })
  }
  const undo = () => {
    for (const name of Object.keys(properties)) Reflect.deleteProperty(Object.prototype, name)
  }
  const fetch: typeof globalThis.fetch = async (input, init) => {
    const given = Object.fromEntries(REQUEST_OPTIONS.map((name) => [name, (init as Json)[name]]))
    requests++
    undo()
    try {
      return await network.fetch(input, given)
    } finally {
      requests--
      if (requests === 0 && active) set()
    }
  }
  let active = false
  return {
    fetch,
    async run<T>(work: () => Promise<T>): Promise<T> {
      active = true
      set()
      try {
        return await work()
      } finally {
        active = false
        undo()
      }
    },
  }
}

const value = (value: unknown): PropertyDescriptor => ({ value, writable: true })

describe('Object.prototype with foreign properties', () => {
  const seen: unknown[] = []
  const spy: PropertyDescriptor = { get: () => EVIL, set: (value) => seen.push(value), enumerable: false }
  beforeEach(() => {
    seen.length = 0
  })

  test.each([
    ['request options', { redirect: value('follow'), credentials: value('include') }],
    ['options of requests and of locks', { mode: value('no-cors'), steal: value(true) }],
    ['members of answers', { access_token: value('EVIL_TOKEN'), refresh_token: value('EVIL') }],
    ['callback parameters', { code: value('EVIL_CODE'), state: value('EVIL') }],
    // biome-ignore lint/suspicious/noThenProperty: as a hostile script has it
    ['a then that is no function', { then: value('EVIL') }],
    ['a getter and setter for iss', { iss: spy }],
    ['a toJSON', { toJSON: value(() => 'EVIL') }],
  ])('changes nothing when they are %s (O03)', async (_what, properties) => {
    const page = pollute(properties as PropertyDescriptorMap)
    const client = createTestClient(network, { fetch: page.fetch })
    const { url } = await page.run(() => client.authorize(ALICE.handle))
    const callback = network.approve(url)
    const session = await page.run(() => client.handleCallback(callback))
    const response = await page.run(() => session.fetch('/xrpc/dev.signet.getThing'))
    await page.run(() => session.refresh())

    expect(response.status).toBe(200)
    expect(session).toMatchObject({
      did: ALICE.did,
      issuer: network.as.issuer,
      scope: 'atproto transition:generic',
    })
    for (const request of network.log) {
      expect(request).toMatchObject({ credentials: 'omit', redirect: 'manual', mode: 'cors' })
      expect(request.url + request.text).not.toContain('EVIL')
    }
    expect(network.count(at.evil)).toBe(0)
    expect(seen).toEqual([])
    network.assertClean()
  })

  test('reaches no request of a sign-in, whatever that leaves to the defaults of fetch (O03)', async () => {
    const page = pollute({
      method: value('DELETE'),
      body: value('x=EVIL'),
      headers: value({ 'x-evil': '1' }),
      keepalive: value(true),
      referrer: value(`${REDIRECT_URI}?EVIL`),
    })
    const client = createTestClient(network, { fetch: page.fetch })
    const { url } = await page.run(() => client.authorize(ALICE.handle))
    const callback = network.approve(url)
    expect(await page.run(() => client.handleCallback(callback))).toMatchObject({ did: ALICE.did })
    for (const request of network.log) {
      expect(request.method).toBe(request.path.startsWith('/oauth/') ? 'POST' : 'GET')
      expect(request).toMatchObject({ keepalive: false, referrer: 'about:client' })
      expect(request.headers.has('x-evil')).toBe(false)
      expect(request.text).not.toContain('EVIL')
    }
    network.assertClean()
  })

  test.each([
    ['access_token', 'EVIL_TOKEN'],
    ['sub', ALICE.did],
    ['token_type', 'DPoP'],
  ])('does not make up for a token answer without %s (O03)', async (member, inherited) => {
    network.on(
      at.exchange,
      faults.changeJson((tokens) => ({ ...tokens, [member]: undefined })),
      {
        times: 1,
      },
    )
    const page = pollute({ [member]: value(inherited) })
    const client = createTestClient(network, { fetch: page.fetch })
    const { url } = await client.authorize(ALICE.handle)
    const callback = network.approve(url)
    await expect(page.run(() => client.handleCallback(callback))).rejects.toMatchObject({
      code: 'token_response_invalid',
      issues: expect.arrayContaining([expect.stringContaining(member)]),
    })
    expect(client.session).toBeUndefined()
    expect(network.sessionAlive(ALICE.did)).toBe(false)
    network.assertClean()
  })

  test('does not make up for a callback without a code or an issuer (O03)', async () => {
    const page = pollute({ code: value('EVIL_CODE'), iss: value(network.as.issuer) })
    const client = createTestClient(network, { fetch: page.fetch })
    const { url } = await client.authorize(ALICE.handle)
    const { state = '' } = network.requests(at.par)[0]?.form ?? {}
    network.approve(url)
    const refusal = page.run(() => client.handleCallback(`${REDIRECT_URI}#state=${state}`))
    await expect(refusal).rejects.toMatchObject({ code: 'callback_invalid' })
    expect(network.count(at.token)).toBe(0)
  })
})

describe('a link into the app', () => {
  test.each([
    '?login=evil.attacker.dev',
    `?iss=${encodeURIComponent(EVIL)}`,
    `?iss=${encodeURIComponent(EVIL)}&login_hint=alice.handles.dev`,
    '?handle=alice.handles.dev&prompt=none',
    '?request_uri=urn:x&client_id=x',
    '#login=evil.attacker.dev',
    `#iss=${encodeURIComponent(EVIL)}&state=x`,
  ])('starts no sign-in and asks nobody anything: %s (P07)', async (parameters) => {
    const page = openPage(`${REDIRECT_URI}${parameters}`)
    const open = vi.fn()
    vi.stubGlobal('window', { open })
    const client = createTestClient(network)
    expect(await client.initialize()).toBeUndefined()
    expect(client.status).toBe('signed-out')
    expect(network.log).toEqual([])
    expect(page.navigations).toEqual([])
    expect(open).not.toHaveBeenCalled()
  })

  test('that brings a code of somebody else signs nobody in (P07)', async () => {
    const parameters = new URLSearchParams({ iss: EVIL, state: 'a'.repeat(43), code: 'x' })
    openPage(`${REDIRECT_URI}#${parameters}`)
    const client = createTestClient(network)
    await expect(client.initialize()).rejects.toMatchObject({ code: 'authorization_unknown' })
    expect(client.status).toBe('signed-out')
    expect(network.log).toEqual([])
  })
})
