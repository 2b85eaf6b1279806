import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createTestClient, signInTo } from '../support/client.ts'
import { ALICE, AS, AS2, at, createFakeNetwork, EVIL, type FakeNetwork, faults } from '../support/network.ts'
import { failureOf } from './failure.ts'

let network: FakeNetwork
beforeEach(() => {
  network = createFakeNetwork()
})
afterEach(() => network.assertClean())

const having = (members: Record<string, unknown>) =>
  faults.changeJson((metadata) => ({ ...metadata, ...members }))

async function refusal() {
  const error = await failureOf(network, createTestClient(network).authorize(ALICE.handle))
  expect(network.log.filter(({ method }) => method !== 'GET')).toEqual([])
  expect(network.count(at.evil)).toBe(0)
  return error
}

describe('an endpoint is refused', () => {
  const [par, token] = ['pushed_authorization_request_endpoint', 'token_endpoint']

  test.each([
    ['javascript:alert(1)'],
    ['JaVaScRiPt:alert(1)'],
    ['java\tscript:alert(1)'],
    ['data:text/html,<script>alert(1)</script>'],
    [`blob:${AS}/0f4d`],
    ['file:///etc/passwd'],
    [' https://as.signet.dev/oauth/authorize'],
    ['https://as.signet.dev/oauth/autho\nrize'],
    ['/oauth/authorize'],
    ['//as.signet.dev/oauth/authorize'],
    [''],
    [7],
    [undefined],
  ])('for authorization when it is %j (ASM-03, E11)', async (authorization_endpoint) => {
    network.on(at.issuerMetadata, having({ authorization_endpoint }))
    expect(await refusal()).toMatchObject({ code: 'issuer_metadata_invalid' })
  })

  test.each([
    ['a user', `https://bsky.social@${new URL(EVIL).host}/oauth/authorize`],
    ['a user and a password', 'https://user:password@as.signet.dev/oauth/authorize'],
    ['a fragment', `${AS}/oauth/authorize#fragment`],
    ['an empty fragment', `${AS}/oauth/authorize#`],
  ])('for authorization when it has %s (ASM-03, E13)', async (_name, authorization_endpoint) => {
    network.on(at.issuerMetadata, having({ authorization_endpoint }))
    expect(await refusal()).toMatchObject({ code: 'issuer_metadata_invalid' })
  })

  test.each([[undefined], [null], [''], ['oauth/token'], ['ftp://as.signet.dev/oauth/token'], [[`${AS}/t`]]])(
    'for tokens when it is %j (ASM-04)',
    async (endpoint) => {
      network.on(at.issuerMetadata, having({ [token]: endpoint }))
      expect(await refusal()).toMatchObject({ code: 'issuer_metadata_invalid' })
    },
  )

  test.each([[''], ['oauth/par'], ['javascript:0'], ['https://'], [{ url: `${AS}/oauth/par` }]])(
    'for pushed requests when it is %j (ASM-12)',
    async (endpoint) => {
      network.on(at.issuerMetadata, having({ [par]: endpoint }))
      expect(await refusal()).toMatchObject({ code: 'issuer_metadata_invalid' })
    },
  )

  test.each(['authorization_endpoint', token, par, 'revocation_endpoint'])(
    'over plain http: %s (ASM-21, ASM-03, ASM-04, ASM-12)',
    async (name) => {
      network.on(at.issuerMetadata, having({ [name]: 'http://as.signet.dev/oauth/endpoint' }))
      expect(await refusal()).toMatchObject({ code: 'issuer_metadata_invalid' })
    },
  )

  test.each(['localhost', '127.0.0.1', '10.0.0.1', '[::1]', 'router', 'pds.local'])(
    'on a host that is not public: %s (ASM-04)',
    async (host) => {
      network.on(at.issuerMetadata, having({ [token]: `https://${host}/oauth/token` }))
      expect(await refusal()).toMatchObject({ code: 'issuer_metadata_invalid' })
    },
  )
})

describe('the query of an authorization endpoint', () => {
  test('stays beside what we add (PAR-04)', async () => {
    network.on(
      at.issuerMetadata,
      having({ authorization_endpoint: `${AS}/oauth/authorize?tenant=1&a=b%26c` }),
    )
    const client = createTestClient(network)
    const { url } = await client.authorize(ALICE.handle)
    expect(new URL(url).searchParams.get('a')).toBe('b&c')
    const callback = network.approve(url, { presets: { tenant: '1', a: 'b&c' } })
    expect((await client.handleCallback(callback)).did).toBe(ALICE.did)
  })

  test('cannot speak for us (PAR-04, E13)', async () => {
    const endpoint = `${AS}/oauth/authorize?client_id=evil&client_id=evil2&request_uri=urn:evil&redirect_uri=${EVIL}/`
    network.on(at.issuerMetadata, having({ authorization_endpoint: endpoint }))
    const client = createTestClient(network)
    const { url } = await client.authorize(ALICE.handle)
    // Throws unless client_id and request_uri are there once, and ours.
    const callback = network.approve(url, { presets: { redirect_uri: `${EVIL}/` } })
    expect(callback.startsWith(EVIL)).toBe(false)
    expect((await client.handleCallback(callback)).did).toBe(ALICE.did)
  })
})

describe('endpoints away from the issuer', () => {
  const hosts = {
    authorization_endpoint: 'https://login.signet.dev/oauth/authorize',
    pushed_authorization_request_endpoint: 'https://push.signet.dev/oauth/par',
    token_endpoint: 'https://tokens.signet.dev/oauth/token',
    revocation_endpoint: 'https://revoke.signet.dev/oauth/revoke',
  }
  beforeEach(() => {
    network.on(at.issuerMetadata, having(hosts))
    for (const url of Object.values(hosts)) network.alias(new URL(url).origin, 'as')
  })

  test('are used as the metadata has them (E15, ASM-20)', async () => {
    const client = createTestClient(network)
    const session = await signInTo(network, client, ALICE.handle)
    expect(session.issuer).toBe(AS)
    await session.refresh()
    await client.signOut()
    const posts = network.log.filter(({ method }) => method === 'POST').map(({ url }) => url)
    expect(new Set(posts)).toEqual(
      new Set([hosts.pushed_authorization_request_endpoint, hosts.token_endpoint, hosts.revocation_endpoint]),
    )
    expect(network.sessionAlive(ALICE.did)).toBe(false)
  })

  test('get proofs without a nonce of one another (E15, DPOP-12)', async () => {
    await signInTo(network, createTestClient(network), ALICE.handle)
    const [first] = network.requests(at.exchange)
    expect(first?.proof?.payload).not.toHaveProperty('nonce')
  })

  test('do not weaken the check of iss (E15, CB-03)', async () => {
    const client = createTestClient(network)
    const { url } = await client.authorize(ALICE.handle)
    const callback = network
      .approve(url)
      .replace(encodeURIComponent(AS), encodeURIComponent(new URL(url).origin))
    const error = await failureOf(network, client.handleCallback(callback))
    expect(error).toMatchObject({ code: 'issuer_mismatch', expected: AS })
    expect(network.count(at.token)).toBe(0)
  })
})

describe('endpoints once found', () => {
  test('stay those of this sign-in, whatever the metadata says later (ASM-20, E16)', async () => {
    const client = createTestClient(network)
    const { url } = await client.authorize(ALICE.handle)
    network.on(
      at.issuerMetadata,
      having({ token_endpoint: `${EVIL}/oauth/token`, revocation_endpoint: `${EVIL}/oauth/revoke` }),
    )
    network.clock.advance(120_000)
    const session = await client.handleCallback(network.approve(url))
    network.clock.advance(3_600_000)
    await session.refresh()
    await client.signOut()
    expect(network.count(at.exchange)).toBe(1)
    expect(network.count(at.evil)).toBe(0)
    expect(network.sessionAlive(ALICE.did)).toBe(false)
  })

  test('are not taken from the callback (ASM-20)', async () => {
    const client = createTestClient(network)
    const { url } = await client.authorize(ALICE.handle)
    const extra = new URLSearchParams({
      token_endpoint: `${EVIL}/oauth/token`,
      issuer: EVIL,
      client_id: 'evil',
      redirect_uri: EVIL,
    })
    const session = await client.handleCallback(`${network.approve(url)}&${extra}`)
    expect(session.issuer).toBe(AS)
    expect(network.count(at.evil)).toBe(0)
  })

  test('are those of the issuer that the sign-in was for, when there are two (ASM-20)', async () => {
    const client = createTestClient(network)
    const alice = await client.authorize(ALICE.handle)
    const carol = await client.authorize('carol.handles.dev')
    const one = await client.handleCallback(network.approve(carol.url))
    const other = await client.handleCallback(network.approve(alice.url))
    expect([one.issuer, other.issuer]).toEqual([AS2, AS])
    expect(network.count(at.exchange)).toBe(1)
    expect(network.count({ role: 'as2', path: '/oauth/token' })).toBe(1)
  })
})

describe('a server without a revocation endpoint', () => {
  test('lets people sign out on this device (ASM-17)', async () => {
    network.on(
      at.issuerMetadata,
      faults.changeJson(({ revocation_endpoint: _, ...metadata }) => metadata),
    )
    const client = createTestClient(network)
    const session = await signInTo(network, client, ALICE.handle)
    await client.signOut()
    expect(client.accounts).toEqual([])
    await expect(client.restore(ALICE.did)).rejects.toMatchObject({ code: 'session_not_found' })
    await expect(session.fetch('/xrpc/dev.signet.echo')).rejects.toMatchObject({ code: 'session_ended' })
    expect(network.count(at.revoke)).toBe(0)
  })
})
