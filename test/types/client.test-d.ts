import type { UnwrapRef } from '@vue/reactivity'
import { describe, expectTypeOf, test } from 'vitest'
import {
  type Account,
  type AuthorizationRequest,
  type ClientEvents,
  type ClientSnapshot,
  createOAuthClient,
  type DiagnosticEvent,
  type OAuthClient,
  type OAuthClientOptions,
  type ProgressStep,
  type Session,
} from '../../src/index.ts'

declare const client: OAuthClient
const metadata = {
  client_id: 'https://app.example/oauth-client-metadata.json',
  redirect_uris: ['https://app.example/'],
  scope: 'atproto',
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  token_endpoint_auth_method: 'none',
  dpop_bound_access_tokens: true,
}

describe('createOAuthClient', () => {
  test('needs nothing, and takes metadata as an object, as a constant or as a URL', () => {
    expectTypeOf(createOAuthClient).toBeCallableWith()
    expectTypeOf(createOAuthClient).toBeCallableWith({ clientMetadata: metadata.client_id })
    expectTypeOf(createOAuthClient).toBeCallableWith({ clientMetadata: metadata })
    const constant = { ...metadata, redirect_uris: ['https://app.example/'], client_name: 'App' } as const
    expectTypeOf(createOAuthClient).toBeCallableWith({ clientMetadata: constant })
    const imported = { ...metadata, application_type: 'web' }
    expectTypeOf(createOAuthClient).toBeCallableWith({ clientMetadata: imported, scope: undefined })
    expectTypeOf(createOAuthClient).returns.toEqualTypeOf<OAuthClient>()
  })

  test('takes resolvers alone and in a list', () => {
    const resolvers: OAuthClientOptions[] = [
      { handleResolver: 'https://resolver.example' },
      { handleResolver: { type: 'well-known' } },
      { handleResolver: [{ type: 'dns', url: 'https://doh.example/dns-query' }, async () => undefined] },
      { handleResolver: [{ type: 'xrpc', service: 'https://resolver.example' }] as const },
    ]
    expectTypeOf(resolvers).items.toEqualTypeOf<OAuthClientOptions>()
  })

  test('knows no other options', () => {
    // @ts-expect-error Misspelled.
    createOAuthClient({ handleResolvers: 'https://resolver.example' })
    // @ts-expect-error An XRPC service is named by `service`.
    createOAuthClient({ handleResolver: { type: 'xrpc', url: 'https://resolver.example' } })
    // @ts-expect-error No such kind of resolver.
    createOAuthClient({ handleResolver: { type: 'https' } })
    // @ts-expect-error Tokens are not kept there.
    createOAuthClient({ storage: 'localStorage' })
    // @ts-expect-error A secret has no place in a browser.
    createOAuthClient({ clientSecret: 'secret' })
    // @ts-expect-error Metadata without redirect URIs is of no use.
    createOAuthClient({ clientMetadata: { ...metadata, redirect_uris: undefined } })
  })
})

describe('a sign-in', () => {
  test('leaves the page, or gives a session, or a URL to go to', () => {
    expectTypeOf(client.signIn('alice.example')).resolves.toBeNever()
    expectTypeOf(client.signUp('https://pds.example')).resolves.toBeNever()
    expectTypeOf(client.signInWithPopup('alice.example')).resolves.toEqualTypeOf<Session>()
    expectTypeOf(client.authorize('alice.example')).resolves.toEqualTypeOf<AuthorizationRequest>()
    expectTypeOf(client.handleCallback()).resolves.toEqualTypeOf<Session>()
    expectTypeOf(client.initialize()).resolves.toEqualTypeOf<Session | undefined>()
  })

  test('takes these options', () => {
    expectTypeOf(client.signIn).toBeCallableWith('alice.example', {
      scope: 'atproto',
      appState: { anything: new Map() },
      prompt: 'login',
      loginHint: 'alice.example',
      uiLocales: ['de', 'en'] as const,
      signal: AbortSignal.timeout(1000),
    })
  })

  test('knows no other options', () => {
    // @ts-expect-error There is nobody to sign in.
    void client.signIn()
    // @ts-expect-error Protocol parameters are not for apps.
    void client.signIn('alice.example', { dpop_jkt: 'jkt' })
    // @ts-expect-error Protocol parameters are not for apps.
    void client.signIn('alice.example', { response_mode: 'query' })
    // @ts-expect-error `state` is the library's; what an app wants back is `appState`.
    void client.signIn('alice.example', { state: 'mine' })
    // @ts-expect-error One value, not a list.
    void client.signIn('alice.example', { prompt: 'login consent' })
    // @ts-expect-error A list, not a string.
    void client.signIn('alice.example', { uiLocales: 'de en' })
    // @ts-expect-error A URL object has no handle in it.
    void client.signIn(new URL('https://pds.example'))
  })
})

describe('events', () => {
  test('come with their own kind of object', () => {
    client.on('progress', (event) => expectTypeOf(event.step).toEqualTypeOf<ProgressStep>())
    client.on('session', (event) => expectTypeOf(event.did).toEqualTypeOf<string>())
    client.on('diagnostic', (event) => {
      expectTypeOf(event).toEqualTypeOf<DiagnosticEvent>()
      if (event.code === 'session_ending') expectTypeOf(event.endsAt).toEqualTypeOf<number>()
    })
    expectTypeOf(client.on('progress', () => {})).toEqualTypeOf<() => void>()
    expectTypeOf<keyof ClientEvents>().toEqualTypeOf<'progress' | 'session' | 'diagnostic'>()
  })

  test('are no others', () => {
    // @ts-expect-error No such event.
    client.on('token', () => {})
    // @ts-expect-error What is emitted is not up to apps.
    void client.emit
  })
})

/** What `$store` asks for (svelte/store). */
interface SvelteReadable<T> {
  subscribe(this: void, run: (value: T) => void, invalidate?: () => void): () => void
}

/** React's `useSyncExternalStore`. */
type UseSyncExternalStore = <Snapshot>(
  subscribe: (onStoreChange: () => void) => () => void,
  getSnapshot: () => Snapshot,
  getServerSnapshot?: () => Snapshot,
) => Snapshot

describe('the store', () => {
  test('is one for Svelte', () => {
    expectTypeOf(client).toExtend<SvelteReadable<ClientSnapshot>>()
  })

  test('holds sessions that are the same in a Vue ref', () => {
    expectTypeOf<UnwrapRef<Session>>().toExtend<Session>()
    expectTypeOf<UnwrapRef<ClientSnapshot>>().toExtend<ClientSnapshot>()
  })

  test('is one for React', () => {
    const use = (() => {}) as unknown as UseSyncExternalStore
    const snapshot = use(client.subscribe, client.getSnapshot, client.getServerSnapshot)
    expectTypeOf(snapshot).toEqualTypeOf<ClientSnapshot>()
  })

  test('cannot be written to', () => {
    const snapshot = client.getSnapshot()
    expectTypeOf(snapshot.accounts).toEqualTypeOf<readonly Account[]>()
    // @ts-expect-error Read-only.
    snapshot.session = undefined
    // @ts-expect-error Read-only.
    snapshot.accounts.push()
    // @ts-expect-error Read-only.
    client.session = undefined
  })

  test('has three states', () => {
    expectTypeOf(client.status).toEqualTypeOf<'initializing' | 'signed-out' | 'signed-in'>()
    expectTypeOf(client.storageTier).toEqualTypeOf<'indexeddb' | 'memory' | undefined>()
  })
})
