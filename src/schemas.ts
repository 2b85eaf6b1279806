import { array, boolean, looseObject, optional, safeParse, string, unknown } from 'zod/mini'
import type { OAuthClientMetadata } from './config.ts'

// Members that are used are named; a document may hold anything else.

/** What is used of a DID document. */
export interface DidDocument {
  id: string
  alsoKnownAs?: unknown[] | undefined
  service?: unknown[] | undefined
}

/** An entry of a DID document's `service`. */
export interface DidService {
  id: string
  type: string
  serviceEndpoint: unknown
}

/** What is used of a DNS-over-HTTPS answer in JSON. */
export interface DnsAnswer {
  Status: unknown
  Answer?: unknown[] | undefined
}

/** What is used of a PDS's metadata (RFC 9728). */
export interface ProtectedResourceMetadata {
  resource: string
  authorization_servers: string[]
}

/** What is used of an authorization server's metadata (RFC 8414 and the atproto profile). */
export interface AuthorizationServerMetadata {
  issuer: string
  authorization_endpoint: string
  token_endpoint: string
  pushed_authorization_request_endpoint?: string | undefined
  revocation_endpoint?: string | undefined
  require_pushed_authorization_requests?: boolean | undefined
  authorization_response_iss_parameter_supported?: boolean | undefined
  client_id_metadata_document_supported?: boolean | undefined
  require_request_uri_registration?: boolean | undefined
  scopes_supported?: string[] | undefined
  response_types_supported?: string[] | undefined
  response_modes_supported?: string[] | undefined
  grant_types_supported?: string[] | undefined
  code_challenge_methods_supported?: string[] | undefined
  token_endpoint_auth_methods_supported?: string[] | undefined
  token_endpoint_auth_signing_alg_values_supported?: string[] | undefined
  dpop_signing_alg_values_supported?: string[] | undefined
  prompt_values_supported?: string[] | undefined
  protected_resources?: string[] | undefined
}

/** What is used of the answer to a pushed authorization request (RFC 9126 §2.2). */
export interface PushedAuthorizationAnswer {
  request_uri: string
  expires_in: unknown
}

/** A document that fits its schema, or what is wrong with it, by member. */
export type Parsed<T> = { value: T; issues?: undefined } | { value?: undefined; issues: string[] }

/** Holds a document against its schema. Nothing of a document is used otherwise. */
export type Parser<T> = (document: unknown) => Parsed<T>

const text = string()
const strings = optional(array(text))
const flag = optional(boolean())

export const parseDidDocument: Parser<DidDocument> = parser({
  id: text,
  alsoKnownAs: optional(array(unknown())),
  service: optional(array(unknown())),
})

export const parseDidService: Parser<DidService> = parser({
  id: text,
  type: text,
  serviceEndpoint: unknown(),
})

export const parseDnsAnswer: Parser<DnsAnswer> = parser({
  Status: unknown(),
  Answer: optional(array(unknown())),
})

export const parseProtectedResourceMetadata: Parser<ProtectedResourceMetadata> = parser({
  resource: text,
  authorization_servers: array(text),
})

export const parseAuthorizationServerMetadata: Parser<AuthorizationServerMetadata> = parser({
  issuer: text,
  authorization_endpoint: text,
  token_endpoint: text,
  pushed_authorization_request_endpoint: optional(text),
  revocation_endpoint: optional(text),
  require_pushed_authorization_requests: flag,
  authorization_response_iss_parameter_supported: flag,
  client_id_metadata_document_supported: flag,
  require_request_uri_registration: flag,
  scopes_supported: strings,
  response_types_supported: strings,
  response_modes_supported: strings,
  grant_types_supported: strings,
  code_challenge_methods_supported: strings,
  token_endpoint_auth_methods_supported: strings,
  token_endpoint_auth_signing_alg_values_supported: strings,
  dpop_signing_alg_values_supported: strings,
  prompt_values_supported: strings,
  protected_resources: strings,
})

export const parsePushedAuthorization: Parser<PushedAuthorizationAnswer> = parser({
  request_uri: text,
  expires_in: unknown(),
})

export const parseClientMetadata: Parser<OAuthClientMetadata> = parser({
  client_id: text,
  redirect_uris: array(text),
  scope: text,
  grant_types: array(text),
  response_types: array(text),
  token_endpoint_auth_method: text,
  dpop_bound_access_tokens: boolean(),
})

function parser<T>(shape: Parameters<typeof looseObject>[0]): Parser<T> {
  const schema = looseObject(shape)
  return (document) => {
    const { success, data, error } = safeParse(schema, document)
    if (success) return { value: data as T }
    const issues = error.issues.slice(0, 8)
    return { issues: issues.map(({ path, message }) => `${path.join('.') || 'document'}: ${message}`) }
  }
}
