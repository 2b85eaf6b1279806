import { afterEach } from 'vitest'
import type { OAuthClient, OAuthClientOptions, Session, SignInOptions } from '../../src/index.ts'
import type { ApproveOptions } from './authorize-page.ts'
import { CLIENT_METADATA, PLC, RESOLVER } from './hosts.ts'
import type { FakeNetwork } from './network.ts'

const BUILT = '../../dist/index.js'
const entry: typeof import('../../src/index.ts') =
  process.env.SIGNET_DIST === '1'
    ? await import(/* @vite-ignore */ BUILT)
    : await import('../../src/index.ts')

const open = new Set<OAuthClient>()
afterEach(() => {
  for (const client of open) client.close()
  open.clear()
})

/**
 * A client on the fake network: published metadata, XRPC handle resolution, memory storage. Closed
 * when the test ends. `SIGNET_DIST=1` takes it from the built package instead of the sources.
 */
export function createTestClient(network: FakeNetwork, overrides: OAuthClientOptions = {}): OAuthClient {
  const options: OAuthClientOptions = {
    clientMetadata: structuredClone(CLIENT_METADATA),
    handleResolver: { type: 'xrpc', service: RESOLVER },
    plcDirectory: PLC,
    scope: 'atproto transition:generic',
    storage: 'memory',
    fetch: network.fetch,
    now: network.clock.now,
    ...overrides,
  }
  if (typeof options.clientMetadata === 'object') network.clients.publish({ ...options.clientMetadata })
  const client = entry.createOAuthClient(options)
  open.add(client)
  return client
}

export interface SignInToOptions extends SignInOptions {
  /** What the person does at the authorization server. */
  person?: ApproveOptions
}

/** The whole way: authorize → the person approves → handleCallback. */
export async function signInTo(
  network: FakeNetwork,
  client: OAuthClient,
  identifier: string,
  { person, ...options }: SignInToOptions = {},
): Promise<Session> {
  const { url } = await client.authorize(identifier, options)
  return client.handleCallback(network.approve(url, person))
}
