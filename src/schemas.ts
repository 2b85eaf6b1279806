import { array, boolean, safeParse, string, unknown } from 'zod/mini'
import type { OAuthClientMetadata } from './config.ts'

/** What is used of a DID document. */
export interface DidDocument {
  id: string
  alsoKnownAs?: unknown[]
  service?: unknown[]
}

/** An entry of a DID document's `service`. */
export interface DidService {
  id: string
  type: string
  serviceEndpoint: string
}

/** What is used of a DNS-over-HTTPS answer in JSON. */
export interface DnsAnswer {
  Status: unknown
  Answer?: unknown[]
}

/** What is used of a PDS's metadata (RFC 9728). */
export interface ProtectedResourceMetadata {
  resource: string
  authorization_servers: string[]
}

/** What is used of an authorization server's metadata (RFC 8414). */
export interface AuthorizationServerMetadata {
  issuer: string
  authorization_endpoint: string
  token_endpoint: string
  pushed_authorization_request_endpoint: string
  revocation_endpoint?: string
  response_modes_supported?: string[]
  prompt_values_supported?: string[]
  protected_resources?: string[]
  [requirement: string]: unknown
}

/** What is used of the answer to a pushed authorization request (RFC 9126 §2.2). */
export interface PushedAuthorizationAnswer {
  request_uri: string
  expires_in?: unknown
}

/** What of a document is used, copied into an object without prototype, or what is wrong with it, by member. */
export type Parsed<T> = { value: T; issues?: undefined } | { value?: undefined; issues: string[] }

/** Holds a document against its schema. Nothing of a document is used otherwise. */
export type Parser<T> = (document: unknown) => Parsed<T>

/** What is wrong with a document that is none. */
export const NOT_AN_OBJECT = 'not a JSON object'

type Shape = Record<string, Parameters<typeof safeParse>[0]>

const text = string()
const texts = array(text)
const flag = boolean()
const anything = unknown()
const things = array(anything)

/** What an atproto authorization server must support, and must not (atproto OAuth, "Server Metadata"). */
export const REQUIRED_VALUES: Readonly<Record<string, readonly string[]>> = {
  response_types_supported: ['code'],
  grant_types_supported: ['authorization_code', 'refresh_token'],
  code_challenge_methods_supported: ['S256'],
  token_endpoint_auth_methods_supported: ['none', 'private_key_jwt'],
  token_endpoint_auth_signing_alg_values_supported: ['ES256'],
  scopes_supported: ['atproto'],
  dpop_signing_alg_values_supported: ['ES256'],
}
export const REQUIRED_FLAGS: readonly string[] = [
  'authorization_response_iss_parameter_supported',
  'require_pushed_authorization_requests',
  'client_id_metadata_document_supported',
]

export const parseDidDocument: Parser<DidDocument> = parser(
  { id: text },
  { alsoKnownAs: things, service: things },
)

export const parseDidService: Parser<DidService> = parser({ id: text, type: text, serviceEndpoint: text })

export const parseDnsAnswer: Parser<DnsAnswer> = parser({ Status: anything }, { Answer: things })

export const parseProtectedResourceMetadata: Parser<ProtectedResourceMetadata> = parser({
  resource: text,
  authorization_servers: texts,
})

export const parseAuthorizationServerMetadata: Parser<AuthorizationServerMetadata> = parser(
  { issuer: text, authorization_endpoint: text, token_endpoint: text },
  {
    pushed_authorization_request_endpoint: text,
    revocation_endpoint: text,
    response_modes_supported: texts,
    prompt_values_supported: texts,
    protected_resources: texts,
    require_request_uri_registration: flag,
    ...each(Object.keys(REQUIRED_VALUES), texts),
    ...each(REQUIRED_FLAGS, flag),
  },
)

export const parsePushedAuthorization: Parser<PushedAuthorizationAnswer> = parser(
  { request_uri: text },
  { expires_in: anything },
)

export const parseClientMetadata: Parser<OAuthClientMetadata> = parser(
  {
    client_id: text,
    scope: text,
    token_endpoint_auth_method: text,
    redirect_uris: texts,
    grant_types: texts,
    response_types: texts,
    dpop_bound_access_tokens: flag,
  },
  {
    application_type: text,
    client_secret: anything,
    client_uri: text,
    logo_uri: text,
    tos_uri: text,
    policy_uri: text,
  },
)

function each(names: readonly string[], schema: Shape[string]): Shape {
  return Object.fromEntries(names.map((name) => [name, schema]))
}

/** Zod's own object schemas compile code at run time, which a page's policy may forbid: members are walked here. */
function parser<T>(required: Shape, optional: Shape = {}): Parser<T> {
  return (document) => {
    if (typeof document !== 'object' || document === null || Array.isArray(document))
      return { issues: [NOT_AN_OBJECT] }
    const value = Object.create(null)
    const issues: string[] = []
    for (const [name, schema] of Object.entries({ ...required, ...optional })) {
      if (!Object.hasOwn(document, name) && !(name in required)) continue
      const { success, data, error } = safeParse(
        schema,
        Object.hasOwn(document, name) ? (document as never)[name] : undefined,
      )
      if (success) value[name] = data
      else issues.push(`${name}: ${error.issues[0]?.message}`)
    }
    return issues.length ? { issues } : { value, issues: undefined }
  }
}
