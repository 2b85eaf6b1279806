import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { OAuthClient } from '../../src/index.ts'
import { createTestClient, type SignInToOptions, signInTo } from '../support/client.ts'
import {
  ALICE,
  APP,
  AS,
  AS2,
  at,
  BOB,
  callbackParameters,
  createFakeNetwork,
  EVIL,
  editCallback,
  type FakeNetwork,
} from '../support/network.ts'
import { expectNobodySignedIn, failureOf } from './failure.ts'

let network: FakeNetwork
let client: OAuthClient
beforeEach(() => {
  network = createFakeNetwork()
  client = createTestClient(network)
})
afterEach(() => network.assertClean())

/** A sign-in up to the callback, which nobody has looked at yet. */
async function begin({ person, ...options }: SignInToOptions = {}): Promise<string> {
  const { url } = await client.authorize(ALICE.handle, options)
  return network.approve(url, person)
}

/** A callback that must fail before the server hears of it. */
async function refusal(callback: string) {
  const error = await failureOf(network, client.handleCallback(callback))
  expect(network.count(at.token)).toBe(0)
  expectNobodySignedIn(network, client)
  return error
}

const isStillPending = async (callback: string) =>
  expect((await client.handleCallback(callback)).did).toBe(ALICE.did)

const isPendingNoMore = async (callback: string) => {
  const again = new URL(callback)
  again.searchParams.set('again', '1')
  expect(await refusal(again.href)).toMatchObject({ code: 'authorization_unknown' })
}

const inQuery = (callback: string) => callback.replace('#', '?')

describe('a state', () => {
  test('that nobody waits for is refused and changes nothing (CB-01)', async () => {
    const callback = await begin()
    expect(await refusal(editCallback(callback, { state: 'a'.repeat(43) }))).toMatchObject({
      code: 'authorization_unknown',
    })
    await isStillPending(callback)
  })

  test('of a sign-in begun in another browser is refused, and its owner gets no code (CB-01, P08)', async () => {
    const callback = await begin()
    const victim = createTestClient(network, { namespace: 'victim' })
    expect(await failureOf(network, victim.handleCallback(callback))).toMatchObject({
      code: 'authorization_unknown',
    })
    expect(network.count(at.token)).toBe(0)
    expectNobodySignedIn(network, victim)
  })

  test.each([
    '__proto__',
    'constructor',
    'toString',
    '😀'.repeat(11),
    'a'.repeat(42),
    'a'.repeat(44),
    `${'a'.repeat(42)}=`,
    `${'a'.repeat(42)} `,
    '',
    'a'.repeat(1_000_000),
  ])('of no shape of ours is refused before it is looked up (CB-01, G03)', async (state) => {
    const callback = await begin()
    expect(await refusal(editCallback(callback, { state }))).toMatchObject({ code: 'callback_invalid' })
    await isStillPending(callback)
  })

  test('that is missing makes it no callback, and changes nothing (CB-01, G01)', async () => {
    const callback = await begin()
    expect(await refusal(editCallback(callback, { state: null }))).toMatchObject({ code: 'callback_invalid' })
    await isStillPending(callback)
  })

  test('is good for a person who takes half an hour (CB-12)', async () => {
    network.as.settings.requestLifetime = 3600
    const { url } = await client.authorize(ALICE.handle)
    network.clock.advance(30 * 60_000)
    await isStillPending(network.approve(url))
  })

  test.each([
    ['an hour', 3_600_001],
    ['a clock that was set back', -3_600_001],
  ])('has expired after %s, and is gone (CB-01, CB-12, G16)', async (_name, ms) => {
    network.as.settings.requestLifetime = 86_400
    const callback = await begin()
    network.clock.advance(ms)
    expect(await refusal(callback)).toMatchObject({ code: 'authorization_expired' })
    network.clock.advance(-ms)
    await isPendingNoMore(callback)
  })

  test('is one of eight at most: of thirty sign-ins begun, the oldest are forgotten (G21)', async () => {
    const callbacks: string[] = []
    for (let count = 0; count < 30; count++) {
      callbacks.push(await begin())
      network.clock.advance(1)
    }
    for (const callback of callbacks.slice(0, 22)) {
      expect(await refusal(callback)).toMatchObject({ code: 'authorization_unknown' })
    }
    await isStillPending(callbacks[22] ?? '')
    await isStillPending(callbacks[29] ?? '')
  })
})

describe('iss', () => {
  const wrong = [
    ['missing', null],
    ['another server', EVIL],
    ['another honest server', AS2],
    ['one with a trailing slash', `${AS}/`],
    ['in another case', 'https://AS.signet.dev'],
    ['with the default port', `${AS}:443`],
    ['percent-encoded', 'https%3A%2F%2Fas.signet.dev'],
  ] as const

  test.each(wrong)(
    'is refused when it is %s, and the sign-in is over (CB-03, G06, E10)',
    async (_name, iss) => {
      const callback = await begin()
      expect(await refusal(editCallback(callback, { iss }))).toMatchObject({
        code: 'issuer_mismatch',
        expected: AS,
        ...(iss && { received: iss }),
      })
      await isPendingNoMore(callback)
    },
  )

  test.each(wrong)('is looked at before an error is believed: %s (CB-04)', async (_name, iss) => {
    const callback = await begin({ person: { deny: true } })
    const error = await refusal(editCallback(callback, { iss }))
    expect(error).toMatchObject({ code: 'issuer_mismatch' })
    expect(error.oauthError).toBeUndefined()
  })

  test('is refused when it is empty (CB-03, G06)', async () => {
    expect(await refusal(editCallback(await begin(), { iss: '' }))).toMatchObject({
      code: 'callback_invalid',
    })
  })
})

describe('an error', () => {
  test('redeems nothing, and says what happened and for what (CB-05)', async () => {
    const deny = { error: 'access_denied', description: 'The user rejected the request' }
    const callback = await begin({ appState: { page: 7 }, person: { deny } })
    const error = await refusal(callback)
    expect(error).toMatchObject({
      code: 'authorization_refused',
      issuer: AS,
      oauthError: 'access_denied',
      oauthErrorDescription: 'The user rejected the request',
      appState: { page: 7 },
      retryable: false,
    })
    await isPendingNoMore(callback)
  })

  test.each([
    'access_denied',
    'invalid_request',
    'unauthorized_client',
    'unsupported_response_type',
    'invalid_scope',
    'server_error',
    'temporarily_unavailable',
    'login_required',
    'consent_required',
    'interaction_required',
    'account_selection_required',
    'invalid_authorization_details',
    'never_heard_of',
  ])('is told by its code: %s (CB-06)', async (deny) => {
    const error = await refusal(await begin({ person: { deny } }))
    expect(error).toMatchObject({ code: 'authorization_refused', oauthError: deny, userMessage: /./ })
  })

  test('is inert and short, whatever the server writes (CB-06, F11)', async () => {
    const description = `<script>alert(1)</script>\u202e${'long '.repeat(500)}`
    const error = await refusal(await begin({ person: { deny: { error: 'server_error', description } } }))
    expect(error.oauthErrorDescription?.length).toBeLessThanOrEqual(512)
    expect(error.oauthErrorDescription).not.toMatch(/[\p{Cc}\p{Cf}]/u)
    expect(error.message).not.toMatch(/[\p{Cc}\p{Cf}]/u)
    expect(error.userMessage).not.toContain('<script>')
    expect(JSON.stringify(error).length).toBeLessThan(4096)
  })

  test('that is empty is refused (CB-06)', async () => {
    const callback = editCallback(await begin({ person: { deny: true } }), { error: '' })
    expect(await refusal(callback)).toMatchObject({ code: 'callback_invalid' })
  })

  test.each(['Access Denied!', 'a'.repeat(65), 'error"', '<b>'])(
    'that cannot be one ends the sign-in all the same: %j (CB-05, CB-06)',
    async (deny) => {
      const callback = await begin({ person: { deny } })
      const error = await refusal(callback)
      expect(error).toMatchObject({ code: 'authorization_refused', oauthError: 'unknown' })
      await isPendingNoMore(callback)
    },
  )

  test('can be logged whatever the app’s own state is', async () => {
    const error = await refusal(await begin({ appState: { id: 1n }, person: { deny: true } }))
    expect(error.appState).toEqual({ id: 1n })
    expect(JSON.parse(JSON.stringify(error))).toMatchObject({ code: 'authorization_refused' })
  })

  test('and a code together are refused (CB-05, G10)', async () => {
    const callback = editCallback(await begin(), { error: 'access_denied' })
    expect(await refusal(callback)).toMatchObject({ code: 'callback_invalid' })
  })
})

describe('a code', () => {
  test.each([
    ['missing', null],
    ['empty', ''],
    ['100 KB long', 'c'.repeat(100_000)],
    ['longer than 4096 characters', 'c'.repeat(4097)],
    ['not ASCII', 'cödé'],
    ['more than one line', 'a\r\nb'],
  ])('is refused when it is %s (CB-07, G11, G22)', async (_name, code) => {
    const callback = await begin()
    expect(await refusal(editCallback(callback, { code }))).toMatchObject({ code: 'callback_invalid' })
  })

  test('that was edited is sent once, and refused by the server (G19)', async () => {
    const callback = editCallback(await begin(), { code: 'edited' })
    const error = await failureOf(network, client.handleCallback(callback))
    expect(error).toMatchObject({ code: 'token_request_failed', oauthError: 'invalid_grant' })
    expect(network.count(at.token)).toBe(1)
    expectNobodySignedIn(network, client)
  })

  test('of somebody else cannot be slipped in (P04)', async () => {
    const attacker = createTestClient(network, { namespace: 'attacker' })
    const { url } = await attacker.authorize(BOB.handle)
    const stolen = callbackParameters(network.approve(url)).get('code')
    const callback = editCallback(await begin(), { code: stolen })
    const error = await failureOf(network, client.handleCallback(callback))
    expect(error).toMatchObject({ code: 'token_request_failed', oauthError: 'invalid_grant' })
    expect(network.count(at.token)).toBe(1)
    expectNobodySignedIn(network, client)
  })
})

describe('a parameter given twice', () => {
  test.each(['state', 'iss', 'code', 'error', 'error_description'])(
    'is refused: %s (CB-08)',
    async (name) => {
      const deny = { error: 'server_error', description: 'text' }
      const callback = await begin(name.startsWith('error') ? { person: { deny } } : {})
      const value = callbackParameters(callback).get(name) ?? ''
      for (const second of [value, `${value}x`, '']) {
        const doubled = editCallback(callback, { [name]: [value, second] })
        expect(await refusal(doubled)).toMatchObject({ code: 'callback_invalid' })
      }
    },
  )
})

describe('an answer of another kind', () => {
  test.each([
    ['a signed response', { response: 'eyJhbGciOiJub25lIn0.e30.' }],
    ['an access token', { access_token: 'token', token_type: 'DPoP' }],
    ['an ID token', { id_token: 'eyJhbGciOiJub25lIn0.e30.' }],
  ])('is no success, with a code or without: %s (CB-11, G13)', async (_name, extra) => {
    const callback = await begin()
    for (const changes of [
      extra,
      { ...extra, code: null },
      { ...extra, state: null, code: null, iss: null },
    ]) {
      expect(await refusal(editCallback(callback, changes))).toMatchObject({ code: 'callback_invalid' })
    }
  })
})

describe('the place of the answer', () => {
  test('may be the query, though the fragment was asked for (REQ-14, G14)', async () => {
    await isStillPending(inQuery(await begin()))
  })

  test('must not be query and fragment at once (G14)', async () => {
    const callback = await begin()
    const { hash } = new URL(callback)
    const same = callback.replace('#', `?${hash.slice(1)}#`)
    const other = callback.replace('#', `?state=${'a'.repeat(43)}&code=other&iss=${encodeURIComponent(AS)}#`)
    for (const url of [same, other]) {
      expect(await refusal(url)).toMatchObject({ code: 'callback_invalid' })
    }
  })

  test('is the only one that is read (G14)', async () => {
    const callback = await begin()
    await isStillPending(callback.replace('#', '?code=coupon&error=none&iss=app#'))
    expect(network.requests(at.exchange)[0]?.form.code).toBe(callbackParameters(callback).get('code'))
  })

  test('must be the page that the redirect URI names (CB-10)', async () => {
    for (const page of [`${APP}/`, `${APP}/callback/`, `${APP}/other-callback`, `${EVIL}/callback`]) {
      const callback = (await begin()).replace(`${APP}/callback`, page)
      expect(await refusal(callback)).toMatchObject({ code: 'callback_invalid' })
    }
  })

  test('may have a query of the app (CB-10)', async () => {
    await isStillPending((await begin()).replace('#', '?utm_source=letter#'))
  })
})

describe('a callback handled twice', () => {
  test('at once gives the same session, for one request (CB-02, G05)', async () => {
    const callback = await begin()
    const [one, two] = await Promise.all([
      client.handleCallback(callback),
      client.handleCallback(new URL(callback)),
    ])
    expect(one).toBe(two)
    expect(network.count(at.exchange)).toBe(1)
  })

  test('later gives the same session, for no further request (CB-02, G04)', async () => {
    const callback = await begin()
    const session = await client.handleCallback(callback)
    const requests = network.log.length
    expect(await client.handleCallback(callback)).toBe(session)
    expect(network.log).toHaveLength(requests)
    expect(network.sessionAlive(ALICE.did)).toBe(true)
  })

  test('after a failure fails the same way, for no further request (CB-02, TOK-02)', async () => {
    const callback = editCallback(await begin(), { code: 'edited' })
    const error = await failureOf(network, client.handleCallback(callback))
    expect(await failureOf(network, client.handleCallback(callback))).toBe(error)
    expect(network.count(at.token)).toBe(1)
  })
})

test('a callback brings back how its sign-in was begun, and leaves the other accounts alone (G23)', async () => {
  const bob = await signInTo(network, client, BOB.handle)
  const alice = await client.handleCallback(await begin({ appState: { begunBy: 'deep link' } }))
  expect(alice.appState).toEqual({ begunBy: 'deep link' })
  expect(client.accounts.map(({ did, status }) => [did, status])).toEqual([
    [BOB.did, 'active'],
    [ALICE.did, 'active'],
  ])
  expect(await client.switchAccount(BOB.did)).toBe(bob)
  expect(client.session).toBe(bob)
})
