import { afterEach, describe, expect, test, vi } from 'vitest'
import { createTestClient, signInTo } from '../support/client.ts'
import { ALICE, at, createFakeNetwork, faults } from '../support/network.ts'
import { cpuTime, WORK_MS } from './cpu-time.ts'
import { failureOf } from './failure.ts'
import { HOUR, PING, refreshes, signedIn } from './signed-in.ts'
import { createBrowser } from './tabs.ts'

afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllGlobals()
})

/** Sign-in, requests, a page load, a refresh, sign-out, as if nothing were wrong. */
async function expectLife(network = createFakeNetwork()): Promise<void> {
  const browser = createBrowser(network)
  const client = browser.openClient()
  await client.initialize()
  const session = await signInTo(network, client, ALICE.handle)
  expect((await session.fetch(PING, { method: 'POST', body: 'x', headers: { 'x-own': '1' } })).status).toBe(
    200,
  )
  const next = await browser.openTab()
  network.clock.advance(2 * HOUR)
  expect((await next.session.fetch(PING)).status).toBe(200)
  expect(refreshes(network)).toBe(1)
  await next.client.signOut()
  expect(network.sessionAlive(ALICE.did)).toBe(false)
  network.assertClean()
}

describe('a page whose Object.prototype was given', () => {
  test.each<[string, unknown]>([
    ['refresh_token', 'RT-injected'],
    ['expires_in', 1],
    ['redirect', 'follow'],
    ['credentials', 'include'],
    ['authorization', 'Bearer injected'],
    ['mode', 'no-cors'],
    ['steal', true],
    ['ifAvailable', true],
    ['durability', 'relaxed'],
    ['extractable', true],
    ['ended', 'revoked'],
    ['signedOutAt', 1],
    ['allowHttp', true],
    ['revocation_endpoint', 'https://evil.attacker.dev/revoke'],
  ])('%s works as ever, from sign-in to sign-out (O03, STO-12)', async (name, value) => {
    Object.defineProperty(Object.prototype, name, { value, writable: true, configurable: true })
    try {
      await expectLife()
    } finally {
      Reflect.deleteProperty(Object.prototype, name)
    }
  })

  test.each(['iss', 'code', 'access_token', 'nonce', 'htu'])(
    'a setter for %s works as ever, and the setter is told no secret (O03, STO-12)',
    async (name) => {
      const stolen: unknown[] = []
      const network = createFakeNetwork()
      const set = (value: unknown) => stolen.push(value)
      Object.defineProperty(Object.prototype, name, { set, get: () => undefined, configurable: true })
      try {
        await expectLife(network)
      } finally {
        Reflect.deleteProperty(Object.prototype, name)
      }
      network.assertNoSecrets(stolen, 'what the setter saw')
    },
  )
})

describe('an answer from the network', () => {
  const polluted =
    '{"__proto__":{"polluted":"yes","allowHttp":true},"constructor":{"prototype":{"polluted":"yes"}},'

  test.each([
    ['the directory', at.plc],
    ['the PDS', at.resourceMetadata],
    ['the issuer', at.issuerMetadata],
    ['the token endpoint', at.token],
    ['the PAR endpoint', at.par],
    ['the handle resolver', at.resolver],
  ])('of %s reaches no prototype and no option (STO-12, O03)', async (_name, match) => {
    const network = createFakeNetwork()
    network.on(match, async (_request, next) => {
      const answer = await next()
      const body = (await answer.text()).replace('{', polluted)
      return new Response(body, { status: answer.status, headers: answer.headers })
    })
    await expectLife(network)
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
  })

  test('that has its tokens only in __proto__ has none (STO-12, O03)', async () => {
    const { network, session } = await signedIn()
    network.on(at.refresh, async (_request, next) => {
      const answer = await next()
      return new Response(`{"__proto__":${await answer.text()}}`, {
        status: answer.status,
        headers: answer.headers,
      })
    })
    expect((await failureOf(network, session.refresh())).code).toBe('token_response_invalid')
  })
})

describe('a script that replaces, after the client was made,', () => {
  let restore = () => {}
  afterEach(() => restore())

  /** What the replacement is given and gives back. */
  const listenTo = (holder: object, name: string): unknown[] => {
    const seen: unknown[] = []
    const original = Reflect.get(holder, name) as (...values: unknown[]) => unknown
    Reflect.set(holder, name, function (this: unknown, ...values: unknown[]): unknown {
      const result = Reflect.apply(original, this, values)
      seen.push(values, result)
      return result
    })
    restore = () => Reflect.set(holder, name, original)
    return seen
  }

  test.each<[string, object, string]>([
    ['fetch', globalThis, 'fetch'],
    ['Headers.prototype.set', Headers.prototype, 'set'],
    ['Headers.prototype.append', Headers.prototype, 'append'],
  ])('%s sees no secret (N04)', async (_name, holder, name) => {
    const network = createFakeNetwork()
    vi.stubGlobal('fetch', network.fetch)
    const client = createTestClient(network, { fetch: undefined as unknown as typeof fetch })
    const { url } = await client.authorize(ALICE.handle)
    const seen = listenTo(holder, name)
    const session = await client.handleCallback(network.approve(url))
    await session.fetch(PING)
    await session.refresh()
    await client.signOut()
    restore()
    const { accessToken, refreshToken, spentRefreshTokens = [] } = network.sessions()[0] ?? {}
    expect(
      [accessToken, refreshToken, ...spentRefreshTokens].every((token) => network.secrets().has(token ?? '')),
    ).toBe(true)
    network.assertNoSecrets(
      seen.filter((value) => !(value instanceof Response)),
      name,
    )
  })
})

test.each([
  ['a nonce', 'dpop-nonce', 'a'.repeat(100_000)],
  ['a content type', 'content-type', `application/json${'; a=b'.repeat(20_000)}`],
  ['a Retry-After', 'retry-after', '9'.repeat(100_000)],
])('%s that is made to keep a parser busy does not (O05)', async (_name, header, value) => {
  const { network, session } = await signedIn()
  const init = { status: 429, headers: { [header]: value } }
  network.on(at.refresh, faults.answer({ error: 'slow_down' }, init))
  const time = await cpuTime(async () => {
    expect((await failureOf(network, session.refresh())).code).toBe('token_request_failed')
  })
  expect(time).toBeLessThan(WORK_MS)
})

test('an error on Object.prototype is none of the server’s (O03, R13, R9)', async () => {
  const { network, session } = await signedIn()
  network.on(at.refresh, faults.html(400))
  Object.defineProperty(Object.prototype, 'error', {
    value: 'invalid_grant',
    configurable: true,
    writable: true,
  })
  try {
    await session.refresh().catch(() => {})
  } finally {
    Reflect.deleteProperty(Object.prototype, 'error')
  }
  expect(session.status).toBe('offline')
})

test.each([
  [
    'the page is not secure',
    () => {
      vi.stubGlobal('isSecureContext', false)
      vi.stubGlobal('crypto', { getRandomValues: crypto.getRandomValues })
    },
  ],
  ['there is no crypto at all', () => vi.stubGlobal('crypto', undefined)],
])('a client that cannot work says so when it is made: %s (STO-08, O06)', (_name, breakIt) => {
  const network = createFakeNetwork()
  breakIt()
  expect(() => createTestClient(network)).toThrow(
    expect.objectContaining({ name: 'OAuthError', code: 'environment_unsupported' }),
  )
  expect(network.log).toEqual([])
})
