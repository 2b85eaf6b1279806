import type { OAuthClientOptions } from '../../src/index.ts'

export const ALICE = 'did:plc:alicealicealicealicealic'
export const BOB = 'did:plc:bobbobbobbobbobbobbobbob'
const HANDLES: Record<string, string> = { 'alice.signet.dev': ALICE, 'bob.signet.dev': BOB }

const SERVER = 'https://pds.signet.dev'
const APP = 'https://app.signet.dev'

export interface Servers {
  /** Paths asked for, in their order. */
  readonly requests: string[]
  /** Tokens that were asked to be revoked. */
  readonly revoked: string[]
  /** Options of a client whose servers these are. */
  readonly options: OAuthClientOptions
  /** Where the browser would be sent once the person agrees. */
  approve(url: string): string
}

/** A directory and one server that believe everything: what is tested in a browser is the browser. */
export function createServers(): Servers {
  const requests: string[] = []
  const revoked: string[] = []
  const pushed = new Map<string, URLSearchParams>()
  let serial = 0

  const issue = (did: string) => ({
    access_token: `access-${++serial}-${did}`,
    refresh_token: `refresh-${serial}-${did}`,
    token_type: 'DPoP',
    scope: 'atproto',
    expires_in: 3600,
    sub: did,
  })

  const endpoints: Record<string, (form: URLSearchParams, url: URL) => unknown> = {
    '/xrpc/com.atproto.identity.resolveHandle': (_form, url) => ({
      did: HANDLES[url.searchParams.get('handle') ?? ''],
    }),
    '/.well-known/oauth-protected-resource': () => ({ resource: SERVER, authorization_servers: [SERVER] }),
    '/.well-known/oauth-authorization-server': () => METADATA,
    '/oauth/par': (form) => {
      const request_uri = `urn:ietf:params:oauth:request_uri:${++serial}`
      pushed.set(request_uri, form)
      return { request_uri, expires_in: 300 }
    },
    '/oauth/token': (form) =>
      issue((form.get('code') ?? form.get('refresh_token') ?? '').replace(/^.*?(?=did:)/, '')),
    '/oauth/revoke': (form) => {
      revoked.push(form.get('token') ?? '')
      return {}
    },
    '/xrpc/com.atproto.server.getSession': () => ({}),
  }

  const answer = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const request = new Request(input, init)
    const url = new URL(request.url)
    requests.push(url.pathname)
    const did = Object.values(HANDLES).find((known) => url.pathname === `/${known}`)
    const body = did
      ? describe(did)
      : endpoints[url.pathname]?.(new URLSearchParams(await request.text()), url)
    return new Response(JSON.stringify(body), {
      status: body === undefined ? 404 : url.pathname === '/oauth/par' ? 201 : 200,
      headers: { 'content-type': 'application/json', 'dpop-nonce': 'nonce' },
    })
  }

  return {
    requests,
    revoked,
    options: {
      clientMetadata: {
        client_id: `${APP}/oauth-client-metadata.json`,
        redirect_uris: [`${APP}/`],
        scope: 'atproto',
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        token_endpoint_auth_method: 'none',
        dpop_bound_access_tokens: true,
      },
      handleResolver: SERVER,
      plcDirectory: 'https://plc.signet.dev',
      fetch: answer,
    },
    approve(url) {
      const form = pushed.get(new URL(url).searchParams.get('request_uri') ?? '')
      const code = `code-${HANDLES[form?.get('login_hint') ?? '']}`
      const query = new URLSearchParams({ state: form?.get('state') ?? '', iss: SERVER, code })
      return `${APP}/#${query}`
    },
  }
}

function describe(did: string) {
  return {
    id: did,
    alsoKnownAs: Object.keys(HANDLES).flatMap((handle) => (HANDLES[handle] === did ? `at://${handle}` : [])),
    service: [{ id: '#atproto_pds', type: 'AtprotoPersonalDataServer', serviceEndpoint: SERVER }],
  }
}

const METADATA = {
  issuer: SERVER,
  authorization_endpoint: `${SERVER}/oauth/authorize`,
  token_endpoint: `${SERVER}/oauth/token`,
  revocation_endpoint: `${SERVER}/oauth/revoke`,
  pushed_authorization_request_endpoint: `${SERVER}/oauth/par`,
  require_pushed_authorization_requests: true,
  response_types_supported: ['code'],
  grant_types_supported: ['authorization_code', 'refresh_token'],
  code_challenge_methods_supported: ['S256'],
  token_endpoint_auth_methods_supported: ['none', 'private_key_jwt'],
  token_endpoint_auth_signing_alg_values_supported: ['ES256'],
  scopes_supported: ['atproto'],
  dpop_signing_alg_values_supported: ['ES256'],
  authorization_response_iss_parameter_supported: true,
  client_id_metadata_document_supported: true,
}
