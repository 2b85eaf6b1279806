import { APP, CLIENT_METADATA, type FakeClientMetadata } from './hosts.ts'
import { Refusal } from './respond.ts'

/** Client metadata an authorization server can find, by client_id. */
export class ClientRegistry {
  readonly #published = new Map<string, FakeClientMetadata>([[CLIENT_METADATA.client_id, CLIENT_METADATA]])

  /** Publishes metadata at its own client_id; on the app's host it is served from there too. */
  publish(metadata: FakeClientMetadata): void {
    this.#published.set(metadata.client_id, metadata)
  }

  /** Makes the metadata of a client unreachable. */
  withdraw(clientId: string): void {
    this.#published.delete(clientId)
  }

  published(url: string): FakeClientMetadata | undefined {
    return url.startsWith(APP) ? this.#published.get(url) : undefined
  }

  /** What an authorization server makes of a client_id. */
  find(clientId: string): FakeClientMetadata {
    if (clientId.startsWith('http://localhost')) return loopbackMetadata(clientId)
    const metadata = this.#published.get(clientId)
    if (!metadata) throw invalid('Unable to fetch the client metadata')
    checkMetadata(clientId, metadata)
    return metadata
  }
}

/** The redirect URI of a request against the declared ones; a declared loopback URI without port fits any port. */
export function redirectUriDeclared(metadata: FakeClientMetadata, redirectUri: string): boolean {
  if (metadata.redirect_uris.includes(redirectUri)) return true
  return metadata.redirect_uris.some((declared) => {
    if (!isLoopback(declared) || new URL(declared).port !== '' || !isLoopback(redirectUri)) return false
    const url = new URL(redirectUri)
    url.port = ''
    return url.href === new URL(declared).href
  })
}

function isLoopback(uri: string): boolean {
  return /^http:\/\/(127\.0\.0\.1|\[::1\])(:\d+)?(\/|$|\?)/.test(uri)
}

function loopbackMetadata(clientId: string): FakeClientMetadata {
  const match = /^http:\/\/localhost\/?(?:\?(.*))?$/.exec(clientId)
  if (!match) throw invalid('Loopback client_id must be http://localhost with nothing but a query')
  const query = new URLSearchParams(match[1] ?? '')
  for (const name of query.keys()) {
    if (name !== 'scope' && name !== 'redirect_uri')
      throw invalid(`Loopback client_id has the parameter ${name}`)
  }
  if (query.getAll('scope').length > 1) throw invalid('Loopback client_id has two scopes')
  const redirectUris = query.getAll('redirect_uri')
  for (const uri of redirectUris) {
    if (!isLoopback(uri)) throw invalid(`${uri} is not a loopback redirect URI`)
  }
  return {
    client_id: clientId,
    application_type: 'native',
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    redirect_uris: redirectUris.length > 0 ? redirectUris : ['http://127.0.0.1/', 'http://[::1]/'],
    scope: query.get('scope') ?? 'atproto',
    token_endpoint_auth_method: 'none',
    dpop_bound_access_tokens: true,
  }
}

function checkMetadata(clientId: string, metadata: FakeClientMetadata): void {
  const must = (holds: boolean, text: string): void => {
    if (!holds) throw invalid(text)
  }
  const url = new URL(clientId)
  must(
    url.href === clientId && url.protocol === 'https:' && url.pathname !== '/',
    'client_id is not canonical',
  )
  must(metadata.client_id === clientId, 'client_id is not the URL of the document')
  must(metadata.dpop_bound_access_tokens === true, 'dpop_bound_access_tokens is not true')
  must(metadata.response_types?.includes('code') === true, 'response_types lacks code')
  must(metadata.grant_types?.includes('authorization_code') === true, 'grant_types lacks authorization_code')
  must(metadata.token_endpoint_auth_method === 'none', 'token_endpoint_auth_method is not none')
  must((metadata.scope ?? '').split(' ').includes('atproto'), 'scope lacks atproto')
  must(metadata.redirect_uris.length > 0, 'redirect_uris is empty')
  for (const uri of metadata.redirect_uris) {
    must(metadata.application_type === 'native' || new URL(uri).protocol === 'https:', `${uri} is not https`)
  }
}

function invalid(description: string): Refusal {
  return new Refusal('invalid_client_metadata', description)
}
