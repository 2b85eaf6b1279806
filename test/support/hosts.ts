/** Who answers a request. `handle` and `web` are told apart by path, as one host may be both. */
export type Role =
  | 'app'
  | 'xrpc'
  | 'doh'
  | 'handle'
  | 'plc'
  | 'web'
  | 'pds'
  | 'pds2'
  | 'as'
  | 'as2'
  | 'evil'
  | 'unknown'

export const APP = 'https://app.signet.dev'
export const RESOLVER = 'https://resolver.signet.dev'
export const DOH = 'https://doh.signet.dev/dns-query'
export const PLC = 'https://plc.signet.dev'
export const PDS = 'https://pds.signet.dev'
export const PDS2 = 'https://pds2.signet.dev'
export const AS = 'https://as.signet.dev'
export const AS2 = 'https://as2.signet.dev'
export const EVIL = 'https://evil.attacker.dev'

export const CLIENT_ID: string = `${APP}/oauth-client-metadata.json`
export const REDIRECT_URI: string = `${APP}/callback`

export interface FakeAccount {
  did: string
  handle: string
  /** Origin of the resource server. */
  pds: string
}

export const ALICE: FakeAccount = {
  did: 'did:plc:alicealicealicealicealic',
  handle: 'alice.handles.dev',
  pds: PDS,
}
export const BOB: FakeAccount = {
  did: 'did:plc:bobbobbobbobbobbobbobbob',
  handle: 'bob.handles.dev',
  pds: PDS,
}
export const CAROL: FakeAccount = {
  did: 'did:plc:carolcarolcarolcarolcaro',
  handle: 'carol.handles.dev',
  pds: PDS2,
}
/** Her DID lives on the host of her handle. */
export const DORA: FakeAccount = { did: 'did:web:dora.handles.dev', handle: 'dora.handles.dev', pds: PDS }

/** Client metadata as an app publishes it. */
export interface FakeClientMetadata {
  client_id: string
  application_type?: string
  grant_types?: readonly string[]
  response_types?: readonly string[]
  redirect_uris: readonly string[]
  scope?: string
  token_endpoint_auth_method?: string
  dpop_bound_access_tokens?: boolean
  [member: string]: unknown
}

export const CLIENT_METADATA = {
  client_id: CLIENT_ID,
  client_name: 'Test app',
  client_uri: APP,
  application_type: 'web' as const,
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  redirect_uris: [REDIRECT_URI, `${APP}/other-callback`],
  scope:
    'atproto transition:generic transition:email transition:chat.bsky repo:dev.signet.note account:email',
  token_endpoint_auth_method: 'none',
  dpop_bound_access_tokens: true,
} satisfies FakeClientMetadata
