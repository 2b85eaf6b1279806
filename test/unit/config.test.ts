import { afterEach, describe, expect, test, vi } from 'vitest'
import {
  createOAuthClient,
  type OAuthClient,
  type OAuthClientMetadata,
  type OAuthClientOptions,
} from '../../src/index.ts'
import { APP, CLIENT_ID, CLIENT_METADATA, REDIRECT_URI } from '../support/hosts.ts'

const fetch = vi.fn<typeof globalThis.fetch>()
afterEach(() => {
  vi.unstubAllGlobals()
  // Whatever is wrong with the configuration is said before anything is asked of anybody.
  expect(fetch).not.toHaveBeenCalled()
})

const create = (options: OAuthClientOptions): OAuthClient =>
  createOAuthClient({ storage: 'memory', fetch, ...options })

/** The metadata of the test app with members changed, or left out where the value is `undefined`. */
function metadata(changes: Record<string, unknown>): OAuthClientMetadata {
  const changed = { ...CLIENT_METADATA, ...changes }
  return Object.fromEntries(
    Object.entries(changed).filter(([, value]) => value !== undefined),
  ) as unknown as OAuthClientMetadata
}

/** Every case differs in one member from a document that is taken. */
const createWith = (changes: Record<string, unknown>, options: OAuthClientOptions = {}): OAuthClient =>
  create({ clientMetadata: metadata(changes), ...options })

describe('a client_id', () => {
  const withId = (clientId: string) => createWith({ client_id: clientId, client_uri: undefined })

  test.each([
    CLIENT_ID,
    'https://app.signet.dev/client',
    'https://app.signet.dev/a/b/metadata.json',
    'https://app.signet.dev/a%20b.json',
  ])('may be %s (CMETA-01, CMETA-03)', (clientId) => {
    expect(withId(clientId).session).toBeUndefined()
    expect(create({ clientMetadata: clientId }).session).toBeUndefined()
  })

  test.each([
    ['plain http', 'http://app.signet.dev/oauth-client-metadata.json'],
    ['another scheme', 'ftp://app.signet.dev/oauth-client-metadata.json'],
    ['no scheme', 'app.signet.dev/oauth-client-metadata.json'],
    ['no URL', 'not a url'],
    ['nothing', ''],
    ['a script', 'javascript:alert(1)'],
    ['a name of its own', 'urn:example:client'],
  ])('that is %s is refused (CMETA-01)', (_what, clientId) => {
    expect(() => withId(clientId)).toThrow(TypeError)
    expect(() => create({ clientMetadata: clientId })).toThrow(TypeError)
  })

  test.each([
    'https://app.signet.dev:8443/oauth-client-metadata.json',
    'https://app.signet.dev:443/oauth-client-metadata.json',
    'https://app.signet.dev:/oauth-client-metadata.json',
  ])('with the port in %s is refused (CMETA-02)', (clientId) => {
    expect(() => withId(clientId)).toThrow(TypeError)
    expect(() => create({ clientMetadata: clientId })).toThrow(TypeError)
  })

  test.each([
    ['no path', 'https://app.signet.dev'],
    ['only the root', 'https://app.signet.dev/'],
    ['a folder', 'https://app.signet.dev/a/'],
    ['a fragment', 'https://app.signet.dev/m.json#x'],
    ['an empty fragment', 'https://app.signet.dev/m.json#'],
    ['a name and password', 'https://u:p@app.signet.dev/m.json'],
    ['a name', 'https://u@app.signet.dev/m.json'],
    ['a double dot', 'https://app.signet.dev/a/../m.json'],
    ['a dot', 'https://app.signet.dev/./m.json'],
    ['an encoded double dot', 'https://app.signet.dev/a/%2e%2e/m.json'],
    ['capitals in the host', 'https://APP.signet.dev/m.json'],
    ['capitals in the scheme', 'HTTPS://app.signet.dev/m.json'],
    ['a space', 'https://app.signet.dev/a b.json'],
    ['back slashes', 'https:\\\\app.signet.dev\\m.json'],
    ['white space before it', ' https://app.signet.dev/m.json'],
  ])('with %s is refused (CMETA-03)', (_what, clientId) => {
    expect(() => withId(clientId)).toThrow(TypeError)
    expect(() => create({ clientMetadata: clientId })).toThrow(TypeError)
  })

  test('that is no string is refused (CMETA-01)', () => {
    expect(() => createWith({ client_id: undefined })).toThrow(TypeError)
    expect(() => createWith({ client_id: 42 })).toThrow(TypeError)
  })
})

describe('client metadata', () => {
  test('as an app publishes it is taken (CMETA-07, CMETA-08, CMETA-09, CMETA-10, CMETA-16)', () => {
    expect(createWith({}).session).toBeUndefined()
    expect(createWith({ client_uri: undefined, application_type: undefined }).session).toBeUndefined()
  })

  test.each([
    ['is missing', undefined],
    ['is empty', []],
    ['has refresh_token only', ['refresh_token']],
    ['is no array', 'authorization_code'],
  ])('whose grant_types %s is refused (CMETA-07)', (_what, grantTypes) => {
    expect(() => createWith({ grant_types: grantTypes })).toThrow(TypeError)
  })

  test.each([
    ['no response_types', { response_types: undefined }],
    ['response_types without code', { response_types: ['token'] }],
    ['response_types that are no array', { response_types: 'code' }],
    ['no redirect_uris', { redirect_uris: undefined }],
    ['an empty redirect_uris', { redirect_uris: [] }],
    ['no dpop_bound_access_tokens', { dpop_bound_access_tokens: undefined }],
    ['tokens that are not bound', { dpop_bound_access_tokens: false }],
    ['tokens that are bound by a string', { dpop_bound_access_tokens: 'true' }],
  ])('with %s is refused (CMETA-08)', (_what, changes) => {
    expect(() => createWith(changes)).toThrow(TypeError)
  })

  test.each([
    ['is missing', undefined],
    ['is empty', ''],
    ['is an array', ['atproto']],
    ['lacks atproto', 'transition:generic'],
    ['has atproto only as part of a word', 'atproto2 transition:generic'],
    ['has another case', 'ATPROTO'],
    ['names a value twice', 'atproto transition:generic transition:generic'],
    ['names atproto twice', 'atproto atproto'],
    ['has two spaces', 'atproto  transition:generic'],
    ['begins with a space', ' atproto'],
    ['ends with a space', 'atproto '],
    ['is separated by a tab', 'atproto\ttransition:generic'],
    ['has a quotation mark', 'atproto "x"'],
    ['is not ASCII', 'atproto rep\u00f6'],
  ])('whose scope %s is refused (CMETA-09)', (_what, scope) => {
    expect(() => createWith({ scope }, { scope: 'atproto' })).toThrow(TypeError)
  })

  test.each([
    ['repo?collection=a.b.c', 'repo:a.b.c'],
    ['transition:Generic', 'transition:generic'],
    ['account:email?action=read', 'account:email'],
    ['rpc:a.b.c', ''],
  ])('has to declare the scope %s in those very letters, not as "%s" (CMETA-09)', (asked, declared) => {
    const scope = ['atproto', declared].join(' ').trim()
    expect(() => createWith({ scope }, { scope: `atproto ${asked}` })).toThrow(TypeError)
    const same = createWith({ scope: `atproto ${asked}` }, { scope: `atproto ${asked}` })
    expect(same.session).toBeUndefined()
  })

  test.each([
    ['missing', undefined],
    ['private_key_jwt', 'private_key_jwt'],
    ['empty', ''],
    ['null', null],
  ])('whose token_endpoint_auth_method is %s is refused (CMETA-10)', (_what, method) => {
    expect(() => createWith({ token_endpoint_auth_method: method })).toThrow(TypeError)
  })

  test.each([
    ['client_secret', { client_secret: 'secret' }],
    ['client_secret_expires_at', { client_secret_expires_at: 0 }],
    ['client_secret_basic', { token_endpoint_auth_method: 'client_secret_basic' }],
    ['client_secret_post', { token_endpoint_auth_method: 'client_secret_post' }],
    ['client_secret_jwt', { token_endpoint_auth_method: 'client_secret_jwt' }],
  ])('that speaks of %s is refused (CMETA-12)', (_what, changes) => {
    expect(() => createWith(changes)).toThrow(TypeError)
  })

  test.each([
    ['client_uri', 'https://other.dev'],
    ['client_uri', 'https://signet.dev'],
    ['client_uri', 'https://app.signet.de'],
    ['client_uri', 'https://app.signet.dev:8443'],
    ['client_uri', 'http://app.signet.dev'],
    ['client_uri', 'https://app.signet.dev/elsewhere/'],
    ['client_uri', 'https://app.signet.dev/oauth'],
    ['client_uri', 'not a url'],
    ['logo_uri', 'http://app.signet.dev/logo.png'],
    ['tos_uri', 'http://app.signet.dev/terms'],
    ['policy_uri', 'http://app.signet.dev/privacy'],
    ['logo_uri', 'data:image/png;base64,AAAA'],
    ['policy_uri', 'javascript:alert(1)'],
    ['tos_uri', 42],
  ])('with the %s %s is refused (CMETA-16)', (name, value) => {
    expect(() => createWith({ [name]: value })).toThrow(TypeError)
  })

  test('may have links of the app and https links elsewhere (CMETA-16)', () => {
    const links = {
      logo_uri: 'https://cdn.dev/logo.png',
      tos_uri: 'https://law.dev/terms',
      policy_uri: `${APP}/p`,
    }
    expect(createWith(links).session).toBeUndefined()
    const nested = { client_id: `${APP}/a/b/metadata.json`, client_uri: `${APP}/a/` }
    expect(createWith(nested).session).toBeUndefined()
  })
})

describe('a redirect URI', () => {
  const withRedirect = (uri: string, type: string | undefined) =>
    createWith({ redirect_uris: [uri], application_type: type })

  test.each([
    ['plain http', 'http://app.signet.dev/callback'],
    ['the default port', 'https://app.signet.dev:443/callback'],
    ['the default port and no path', 'https://app.signet.dev:443'],
    ['the default port and a query', 'https://app.signet.dev:443?tab=1'],
    ['a name and password', 'https://u:p@app.signet.dev/callback'],
    ['a name', 'https://u@app.signet.dev/callback'],
    ['a .test name', 'https://app.test/callback'],
    ['a .local name', 'https://app.local/callback'],
    ['a .localhost name', 'https://app.localhost/callback'],
    ['the name localhost', 'https://localhost/callback'],
    ['an .invalid name', 'https://app.invalid/callback'],
    ['an .example name', 'https://app.example/callback'],
    ['a fragment', 'https://app.signet.dev/callback#here'],
    ['no URL', '/callback'],
    ['a script', 'javascript:alert(1)'],
  ])('with %s is refused (CMETA-13)', (_what, uri) => {
    expect(() => withRedirect(uri, 'web')).toThrow(TypeError)
    expect(() => withRedirect(uri, undefined)).toThrow(TypeError)
  })

  test('is looked at wherever it stands in the list (CMETA-13)', () => {
    expect(() => createWith({ redirect_uris: [REDIRECT_URI, 'http://app.signet.dev/b'] })).toThrow(TypeError)
  })

  test.each([
    'https://app.signet.dev/callback',
    'https://app.signet.dev:8443/callback',
    'https://app.signet.dev/callback?tab=1',
    'https://4433.signet.dev/callback',
  ])('may be %s (CMETA-13)', (uri) => {
    expect(withRedirect(uri, 'web').session).toBeUndefined()
  })

  test('may be on another origin than the document (CMETA-14)', () => {
    expect(withRedirect('https://other.dev/callback', 'web').session).toBeUndefined()
  })

  test.each([
    'http://127.0.0.1/callback',
    'http://127.0.0.1:5173/callback',
    'http://[::1]/callback',
    'dev.signet.app:/callback',
  ])('such as %s belongs to native clients (CMETA-15)', (uri) => {
    expect(() => withRedirect(uri, 'web')).toThrow(TypeError)
    expect(() => withRedirect(uri, undefined)).toThrow(TypeError)
    expect(withRedirect(uri, 'native').session).toBeUndefined()
  })

  test.each([
    'http://localhost/callback',
    'http://127.0.0.1.nip.io/callback',
    'http://app.signet.dev/callback',
  ])('such as %s is not for native clients either (CMETA-15)', (uri) => {
    expect(() => withRedirect(uri, 'native')).toThrow(TypeError)
  })

  test.each([
    'https://app.signet.dev/elsewhere',
    'https://app.signet.dev/callback/',
    'https://app.signet.dev/callback?x=1',
    'https://APP.signet.dev/callback',
  ])('that is to be used, %s, has to be one of the document (P09)', (redirectUri) => {
    expect(() => createWith({}, { redirectUri })).toThrow(TypeError)
    expect(createWith({}, { redirectUri: REDIRECT_URI }).session).toBeUndefined()
  })
})

describe('an option', () => {
  test.each([
    ['an empty list of resolvers', { handleResolver: [] }, /handleResolver must name one/],
    ['a resolver without its URL', { handleResolver: { type: 'dns' } }, /undefined must be an https URL/],
    ['a resolver of no known kind', { handleResolver: { type: 'well_known' } }, /must be an https URL/],
    ['a resolver that is a number', { handleResolver: 5 }, /must be an https URL/],
    ['another storage', { storage: 'localStorage' }, /storage must be auto or memory/],
    ['a clock that is a date', { now: new Date() }, /fetch and now must be functions/],
    ['a fetch that is a name', { fetch: 'fetch' }, /fetch and now must be functions/],
    ['a list for a scope', { scope: ['atproto'] }, /scope must be .*, not \["atproto"\]/],
    ['a name that is none', { clientID: CLIENT_ID }, /clientID is not an option/],
  ])('that is %s is refused, by name', (_what, options, message) => {
    const thrown = catchError(() => createWith({}, options as OAuthClientOptions))
    expect(thrown).toBeInstanceOf(TypeError)
    expect(String(thrown)).toMatch(message)
  })
})

describe('an environment', () => {
  test('that is no secure context is refused when the client is made (O06, STO-08)', () => {
    // As a page on http://app.signet.dev has it.
    vi.stubGlobal('isSecureContext', false)
    vi.stubGlobal('crypto', { getRandomValues() {}, subtle: undefined })
    const thrown = catchError(() => createWith({}))
    expect(thrown).toMatchObject({ name: 'OAuthError', code: 'environment_unsupported', retryable: false })
    expect(thrown).toHaveProperty('missing', expect.arrayContaining([expect.any(String)]))
  })

  test.each([
    ['WebCrypto', {}],
    ['any cryptography', undefined],
  ])('without %s is refused when the client is made (O06, STO-08)', (_what, crypto) => {
    vi.stubGlobal('crypto', crypto)
    expect(catchError(() => createWith({}))).toMatchObject({ code: 'environment_unsupported' })
  })

  test('that is secure is taken (O06, STO-08)', () => {
    vi.stubGlobal('isSecureContext', true)
    expect(createWith({}).session).toBeUndefined()
  })
})

function catchError(run: () => unknown): unknown {
  try {
    run()
  } catch (error) {
    return error
  }
  throw new Error('Nothing was thrown')
}

test('an option that there is not is named', () => {
  expect(() => createOAuthClient({ scop: 'atproto' } as OAuthClientOptions)).toThrow('scop is not an option')
})
