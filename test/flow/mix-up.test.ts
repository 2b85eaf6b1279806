import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { OAuthClient } from '../../src/index.ts'
import { createTestClient } from '../support/client.ts'
import {
  ALICE,
  APP,
  AS,
  at,
  callbackParameters,
  createFakeNetwork,
  EVIL,
  editCallback,
  type FakeNetwork,
  faults,
  REDIRECT_URI,
} from '../support/network.ts'
import { expectNobodySignedIn, failureOf } from './failure.ts'

let network: FakeNetwork
let client: OAuthClient
beforeEach(() => {
  network = createFakeNetwork()
  client = createTestClient(network)
})
afterEach(() => network.assertClean())

describe('a server that shows the sign-in page of another', () => {
  /** It hands the victim's request on as its own; `changes` makes challenge and key its own too. */
  const relaying = (changes: Record<string, string>) => {
    network.on(
      { role: 'evil', path: '/.well-known/oauth-authorization-server' },
      faults.changeJson((metadata) => ({ ...metadata, authorization_endpoint: `${AS}/oauth/authorize` })),
    )
    network.on({ role: 'evil', path: '/oauth/par' }, (request) =>
      network.deliver(`${AS}/oauth/par`, {
        method: 'POST',
        body: new URLSearchParams({ ...request.form, ...changes }),
      }),
    )
  }

  test.each([
    ['its own challenge and key', { code_challenge: 'c'.repeat(43), dpop_jkt: 'k'.repeat(43) }],
    ['those of the victim', {}],
  ])('with %s gets no code: the answer names the other one (P01, CB-03)', async (_name, changes) => {
    relaying(changes)
    const { url } = await client.authorize(EVIL)
    expect(new URL(url).origin).toBe(AS)
    const callback = network.approve(url)
    expect(callbackParameters(callback).get('iss')).toBe(AS)
    const error = await failureOf(network, client.handleCallback(callback))
    expect(error).toMatchObject({ code: 'issuer_mismatch', expected: EVIL, received: AS })
    expect(network.count({ method: 'POST', path: '/oauth/token' })).toBe(0)
    expectNobodySignedIn(network, client)
  })

  test('gets no code either when the person denies (P01, CB-04)', async () => {
    relaying({})
    const { url } = await client.authorize(EVIL)
    const error = await failureOf(network, client.handleCallback(network.approve(url, { deny: true })))
    expect(error).toMatchObject({ code: 'issuer_mismatch' })
    expect(error.oauthError).toBeUndefined()
  })
})

describe('two sign-ins at once', () => {
  test('do not get the answers of each other (P01, CB-03)', async () => {
    const evil = await client.authorize(EVIL)
    const alice = await client.authorize(ALICE.handle)
    const state = new Map(
      network.log
        .filter(({ path }) => path === '/oauth/par')
        .map(({ origin, form }) => [origin, form.state ?? '']),
    )
    const honest = network.approve(alice.url)
    const swapped = editCallback(honest, { state: state.get(EVIL) ?? '' })
    const error = await failureOf(network, client.handleCallback(swapped))
    expect(error).toMatchObject({ code: 'issuer_mismatch', expected: EVIL, received: AS })
    expect(network.count({ path: '/oauth/token' })).toBe(0)
    expect((await client.handleCallback(honest)).did).toBe(ALICE.did)
    const own = network.approve(evil.url, { as: ALICE.did })
    expect(await failureOf(network, client.handleCallback(own))).toMatchObject({
      code: 'authorization_unknown',
    })
    expect(client.accounts.map(({ did, issuer }) => [did, issuer])).toEqual([[ALICE.did, AS]])
  })
})

describe('a sign-in page prepared by somebody else', () => {
  test('brings the attacker nothing: the answer goes to our page, where nobody waits for it (P08, CB-01)', async () => {
    const attacker = createTestClient(network, { namespace: 'attacker' })
    const { url } = await attacker.authorize(ALICE.handle)
    const callback = network.approve(url)
    expect(callback.startsWith(`${APP}/`)).toBe(true)
    expect(await failureOf(network, client.handleCallback(callback))).toMatchObject({
      code: 'authorization_unknown',
    })
    expect(network.count(at.token)).toBe(0)
    expectNobodySignedIn(network, client)
  })
})

describe('the redirect URI', () => {
  test('is the same to the letter in both requests (P09, REQ-02, TOK-01)', async () => {
    const { url } = await client.authorize(ALICE.handle)
    const callback = network.approve(url)
    await client.handleCallback(`${callback}&redirect_uri=${EVIL}`)
    expect(network.requests(at.par)[0]?.form.redirect_uri).toBe(REDIRECT_URI)
    expect(network.requests(at.exchange)[0]?.form.redirect_uri).toBe(REDIRECT_URI)
  })

  test('is not believed when only the host of the callback looks like ours (P09, CB-10)', async () => {
    const { url } = await client.authorize(ALICE.handle)
    const callback = network.approve(url)
    for (const host of [
      'https://app.signet.dev.evil.dev',
      'https://evil.dev/app.signet.dev',
      'http://app.signet.dev',
    ]) {
      const elsewhere = callback.replace(APP, host)
      await expect(client.handleCallback(elsewhere)).rejects.toMatchObject({ name: 'OAuthError' })
    }
    expect(network.count(at.token)).toBe(0)
  })
})

test('an issuer that would turn the line around does not get into the message (CB-03)', async () => {
  const network = createFakeNetwork()
  const client = createTestClient(network)
  const { url } = await client.authorize(ALICE.handle)
  const callback = new URL(network.approve(url))
  const answer = new URLSearchParams(callback.hash.slice(1))
  answer.set('iss', 'https://as.signet.dev\u202e\u200f')
  callback.hash = String(answer)
  const error = await failureOf(network, client.handleCallback(callback))
  expect(error.code).toBe('issuer_mismatch')
  expect(error.message).not.toMatch(/[\u202e\u200f]/)
})
