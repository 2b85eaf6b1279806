import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { SignInOptions } from '../../src/index.ts'
import { createTestClient, signInTo } from '../support/client.ts'
import {
  ALICE,
  APP,
  AS,
  at,
  CLIENT_ID,
  CLIENT_METADATA,
  createFakeNetwork,
  type FakeNetwork,
  faults,
  PDS,
  REDIRECT_URI,
} from '../support/network.ts'
import { failureOf } from './failure.ts'

let network: FakeNetwork
beforeEach(() => {
  network = createFakeNetwork()
})
afterEach(() => {
  vi.restoreAllMocks()
  network.assertClean()
})

/** The parameters of the request that was pushed last. */
const pushed = () => network.requests(at.par).at(-1)?.form ?? {}

async function push(identifier: string = ALICE.handle, options: SignInOptions = {}) {
  await createTestClient(network).authorize(identifier, options)
  return pushed()
}

/** An option as an app without types, or with a mistake, would give it. */
const untyped = (options: object) => options as SignInOptions

test('a mistake in calling is said before anything is asked of anybody', async () => {
  const client = createTestClient(network)
  const scope = 'atproto rpc:dev.signet.none?aud=*'
  await expect(client.authorize(ALICE.handle, { appState: { draft() {} } })).rejects.toThrow(TypeError)
  await expect(client.authorize(ALICE.handle, untyped({ popup: true }))).rejects.toThrow(TypeError)
  expect(network.log).toEqual([])
  const undeclared = await failureOf(network, client.authorize(ALICE.handle, { scope }))
  expect(undeclared).toMatchObject({ code: 'client_metadata_invalid' })
  expect(undeclared.message).toContain('scope rpc:dev.signet.none?aud=* is not declared: add it')
})

describe('the parameters', () => {
  test('are the seven of a code request with PKCE (REQ-01)', async () => {
    expect(await push()).toMatchObject({
      client_id: CLIENT_ID,
      response_type: 'code',
      redirect_uri: REDIRECT_URI,
      scope: 'atproto transition:generic',
      state: expect.stringMatching(/^[\w-]{43}$/),
      code_challenge: expect.stringMatching(/^[\w-]{43}$/),
      code_challenge_method: 'S256',
    })
  })

  test('are none but those of the profile, whatever was asked for (REQ-12, REQ-15, REQ-16, PAR-02)', async () => {
    const form = await push(ALICE.handle, {
      prompt: 'login',
      uiLocales: ['en'],
      appState: { nonce: 'n', claims: 'c' },
    })
    expect(Object.keys(form).sort()).toEqual(
      [
        'client_id',
        'code_challenge',
        'code_challenge_method',
        'dpop_jkt',
        'login_hint',
        'prompt',
        'redirect_uri',
        'response_mode',
        'response_type',
        'scope',
        'state',
        'ui_locales',
      ].sort(),
    )
  })

  test.each(['dpop_jkt', 'response_mode', 'client_id', 'state', 'display', 'nonce', 'redirectUri'])(
    'cannot be added or replaced by an option %s, which is refused (F15, REQ-16)',
    async (name) => {
      const client = createTestClient(network)
      await expect(client.authorize(ALICE.handle, untyped({ [name]: 'evil' }))).rejects.toThrow(TypeError)
      expect(network.log).toEqual([])
    },
  )

  test('are not touched by what JSON calls __proto__ (F15)', async () => {
    const options = untyped(JSON.parse('{"__proto__":{"scope":"atproto evil","prompt":"login"}}'))
    await createTestClient(network)
      .authorize(ALICE.handle, options)
      .catch(() => {})
    for (const { form } of network.requests(at.par)) {
      expect(form).toMatchObject({ scope: 'atproto transition:generic' })
      expect(form).not.toHaveProperty('prompt')
    }
    expect({}).not.toHaveProperty('scope')
  })

  test('do not ask for OpenID Connect, even if the app does (REQ-15)', async () => {
    const clientMetadata = { ...CLIENT_METADATA, scope: 'atproto openid' }
    const ask = async () =>
      createTestClient(network, { clientMetadata, scope: 'atproto openid' }).authorize(ALICE.handle)
    await expect(ask()).rejects.toThrow(TypeError)
    expect(network.count(at.par)).toBe(0)
  })
})

describe('the redirect URI', () => {
  test('is sent when only one is declared (REQ-02)', async () => {
    const clientMetadata = { ...CLIENT_METADATA, redirect_uris: [`${APP}/only`] }
    await createTestClient(network, { clientMetadata }).authorize(ALICE.handle)
    expect(pushed().redirect_uri).toBe(`${APP}/only`)
  })

  test('is the declared one that the app chose, to the letter (REQ-02, P09)', async () => {
    const client = createTestClient(network, { redirectUri: `${APP}/other-callback` })
    await signInTo(network, client, ALICE.handle)
    expect(pushed().redirect_uri).toBe(`${APP}/other-callback`)
    expect(network.requests(at.exchange)[0]?.form.redirect_uri).toBe(`${APP}/other-callback`)
  })

  test.each([
    `${APP}/callback/`,
    `${APP}/callback?x`,
    `${APP}/Callback`,
    `${APP}.evil.dev/callback`,
    'https://app.signet.dev@evil.attacker.dev/callback',
    'http://app.signet.dev/callback',
  ])('is refused when it only looks like a declared one: %s (REQ-02, P09)', (redirectUri) => {
    expect(() => createTestClient(network, { redirectUri })).toThrow(TypeError)
    expect(network.log).toEqual([])
  })

  test('is refused when the published document does not have it (REQ-02)', async () => {
    const client = createTestClient(network, { clientMetadata: CLIENT_ID, redirectUri: `${APP}/undeclared` })
    await expect(client.authorize(ALICE.handle)).rejects.toThrow()
    expect(network.count(at.par)).toBe(0)
  })
})

describe('the scope', () => {
  test.each([
    ['atproto is missing', 'transition:generic'],
    ['atproto is only part of a word', 'atprotox transition:generic'],
    ['it is empty', ''],
    ['it has two spaces', 'atproto  transition:generic'],
    ['it begins with a space', ' atproto'],
    ['it ends with a space', 'atproto '],
    ['it has a line break', 'atproto\ntransition:generic'],
    ['it has a quotation mark', 'atproto "x"'],
    ['it has a backslash', 'atproto a\\b'],
    ['it has other letters', 'atproto ä'],
    ['a value is repeated', 'atproto atproto'],
  ])('is refused before any request when %s (REQ-03)', async (_name, scope) => {
    await expect(createTestClient(network).authorize(ALICE.handle, { scope })).rejects.toThrow(TypeError)
    expect(() => createTestClient(network, { scope })).toThrow(TypeError)
    expect(network.log).toEqual([])
  })

  test('is refused when the metadata does not declare all of it (REQ-03)', async () => {
    const client = createTestClient(network)
    const error = await failureOf(network, client.authorize(ALICE.handle, { scope: 'atproto identity:*' }))
    expect(error).toMatchObject({ code: 'client_metadata_invalid' })
    expect(() => createTestClient(network, { scope: 'atproto identity:*' })).toThrow(TypeError)
    expect(network.count(at.par)).toBe(0)
  })

  test('may be any part of what is declared (REQ-03)', async () => {
    expect((await push(ALICE.handle, { scope: 'atproto repo:dev.signet.note' })).scope).toBe(
      'atproto repo:dev.signet.note',
    )
  })
})

describe('state and challenge', () => {
  test('are new every time, for the same person too (REQ-04, PKCE-01, PKCE-03)', async () => {
    const clients = [createTestClient(network), createTestClient(network, { namespace: 'other' })]
    for (let round = 0; round < 20; round++) {
      for (const client of clients) await client.authorize(ALICE.handle)
    }
    const forms = network.requests(at.par).map(({ form }) => form)
    expect(new Set(forms.map(({ state }) => state)).size).toBe(40)
    expect(new Set(forms.map(({ code_challenge }) => code_challenge)).size).toBe(40)
    expect(new Set(forms.map(({ dpop_jkt }) => dpop_jkt)).size).toBe(40)
  })

  test('are drawn from the secure generator (REQ-04, PKCE-01)', async () => {
    const drawn: string[] = []
    const original = crypto.getRandomValues.bind(crypto)
    vi.spyOn(crypto, 'getRandomValues').mockImplementation((array) => {
      const filled = original(array)
      drawn.push(Buffer.from(filled.buffer as ArrayBuffer).toString('base64url'))
      return filled
    })
    const client = createTestClient(network)
    await signInTo(network, client, ALICE.handle)
    expect(drawn).toContain(pushed().state)
    expect(drawn).toContain(network.requests(at.exchange)[0]?.form.code_verifier)
  })

  test('the state tells nothing of the sign-in (PAR-08, REQ-04)', async () => {
    const { state } = await push(ALICE.handle, { appState: { page: '/settings' } })
    const decoded = Buffer.from(state ?? '', 'base64url')
    expect(decoded).toHaveLength(32)
    for (const known of ['alice', 'settings', 'signet', ALICE.did]) {
      expect(decoded.toString('latin1')).not.toContain(known)
    }
  })

  test('the challenge is the S256 of a verifier that goes out with the code alone (PKCE-02, PKCE-04)', async () => {
    await signInTo(network, createTestClient(network), ALICE.handle)
    const verifier = network.requests(at.exchange)[0]?.form.code_verifier ?? ''
    expect(verifier).toMatch(/^[A-Za-z0-9._~-]{43,128}$/)
    const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(verifier))
    expect(pushed()).toMatchObject({
      code_challenge: Buffer.from(digest).toString('base64url'),
      code_challenge_method: 'S256',
    })
    const carriers = network.log.filter(({ url, text }) => (url + text).includes(verifier))
    expect(carriers.map(({ grantType }) => grantType)).toEqual(['authorization_code'])
  })
})

describe('the login hint', () => {
  test.each([
    ['a handle', ALICE.handle, ALICE.handle],
    ['a handle in another case', ' @Alice.Handles.DEV ', ALICE.handle],
    ['a DID', ALICE.did, ALICE.did],
    ['a server', PDS, undefined],
    ['an authorization server', AS, undefined],
  ])('is what the person typed, if it was %s (REQ-05, REQ-06)', async (_name, typed, hint) => {
    expect((await push(typed)).login_hint).toBe(hint)
  })

  test('is the one the app gives instead (REQ-05)', async () => {
    expect((await push(PDS, { loginHint: ALICE.handle })).login_hint).toBe(ALICE.handle)
  })

  test('is nothing but a handle or a DID when it was typed (REQ-06)', async () => {
    const error = await failureOf(network, createTestClient(network).authorize('alice@handles.dev'))
    expect(error).toMatchObject({ code: 'identifier_invalid' })
    expect(network.log).toEqual([])
  })

  test.each(['alice@handles.dev', 'alice', 'did:key:z6Mk', PDS, ''])(
    'is nothing but a handle or a DID when the app gives it, so not %j (REQ-06)',
    async (loginHint) => {
      await expect(createTestClient(network).authorize(PDS, { loginHint })).rejects.toThrow()
      expect(network.count(at.par)).toBe(0)
    },
  )
})

describe('the prompt', () => {
  test('is left out unless asked for (REQ-07)', async () => {
    expect(await push()).not.toHaveProperty('prompt')
  })

  test.each(['login', 'consent', 'select_account'] as const)(
    'is passed on: %s (REQ-07, REQ-09)',
    async (prompt) => {
      expect((await push(ALICE.handle, { prompt })).prompt).toBe(prompt)
    },
  )

  test.each(['login consent', 'LOGIN', 'anything'])(
    'is one known value, so not %j (REQ-07)',
    async (prompt) => {
      const client = createTestClient(network)
      await expect(client.authorize(ALICE.handle, untyped({ prompt }))).rejects.toThrow(TypeError)
      expect(network.log).toEqual([])
    },
  )

  test('create starts a sign-up at a server, without a hint (REQ-11)', async () => {
    const form = await push(PDS, { prompt: 'create' })
    expect(form.prompt).toBe('create')
    expect(form).not.toHaveProperty('login_hint')
  })

  test('create does not go with an account that exists already (REQ-11)', async () => {
    const client = createTestClient(network)
    await expect(client.authorize(ALICE.handle, { prompt: 'create' })).rejects.toThrow()
    expect(network.count(at.par)).toBe(0)
  })

  test('is dropped when the server says that it does not know it (ASM-19)', async () => {
    network.on(
      at.issuerMetadata,
      faults.changeJson((metadata) => ({ ...metadata, prompt_values_supported: ['login', 'consent'] })),
    )
    const client = createTestClient(network)
    await client.authorize(PDS, { prompt: 'create' })
    expect(pushed()).not.toHaveProperty('prompt')
    await client.authorize(PDS, { prompt: 'login' })
    expect(pushed().prompt).toBe('login')
  })

  test('is sent when the server says nothing of what it knows (ASM-19)', async () => {
    network.on(
      at.issuerMetadata,
      faults.changeJson(({ prompt_values_supported: _, ...metadata }) => metadata),
    )
    expect((await push(PDS, { prompt: 'create' })).prompt).toBe('create')
  })

  test('none is refused for a public client, and an interactive sign-in is still possible (REQ-08, P10)', async () => {
    const client = createTestClient(network)
    const error = await failureOf(network, client.authorize(ALICE.handle, { prompt: 'none' }))
    expect(error).toMatchObject({ code: 'token_request_failed', oauthError: 'invalid_request', issuer: AS })
    expect((await signInTo(network, client, ALICE.handle)).did).toBe(ALICE.did)
    expect(pushed()).not.toHaveProperty('prompt')
  })

  test.each(['login_required', 'consent_required', 'interaction_required', 'account_selection_required'])(
    'that the server could not follow comes back as %s, and an interactive sign-in is still possible (REQ-08, REQ-10, P10)',
    async (deny) => {
      const client = createTestClient(network)
      const options = { prompt: 'select_account', appState: 'here' } as const
      const error = await failureOf(
        network,
        signInTo(network, client, ALICE.handle, { ...options, person: { deny } }),
      )
      expect(error).toMatchObject({ code: 'authorization_refused', oauthError: deny, appState: 'here' })
      expect((await signInTo(network, client, ALICE.handle)).did).toBe(ALICE.did)
    },
  )
})

describe('the languages', () => {
  test.each([
    [['zh-Hant-TW', 'es-419', 'fr-CA'], 'zh-TW es fr-CA'],
    [['en-US', 'en'], 'en-US en'],
    [['de-1996', 'de-DE-1996', 'de-de'], 'de de-DE'],
    [['en-US', 'en-us', 'EN-US'], 'en-US'],
    [['x-private', 'not a tag', '', 'pt-BR'], 'pt-BR'],
    [['english', 'abcdefgh'], undefined],
    [['yue-Hant-HK', 'sr-Latn-RS-u-ca-gregory'], 'yue-HK sr-RS'],
    [[], undefined],
  ])('%j become %j (REQ-13)', async (uiLocales, sent) => {
    expect((await push(ALICE.handle, { uiLocales })).ui_locales).toBe(sent)
  })

  test('are those of the browser when the app names none (REQ-13)', async () => {
    vi.spyOn(navigator, 'languages', 'get').mockReturnValue(['nds-DE', 'de-AT'])
    expect((await push()).ui_locales).toBe('nds-DE de-AT')
  })
})
