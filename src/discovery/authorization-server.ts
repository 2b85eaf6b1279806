import { oauthError } from '../errors.ts'
import { fetchBounded, parseJson, parsePartyUrl } from '../http.ts'
import { parseAuthorizationServerMetadata } from '../schemas.ts'
import type { StepContext } from '../steps.ts'
import type { AuthorizationServer } from '../types.ts'

/**
 * Fetches an authorization server's metadata and holds it against the atproto profile of RFC 8414.
 *
 * @param pds - The PDS that named this issuer: if the metadata lists `protected_resources`, it must be among them.
 * @throws {OAuthError} `issuer_metadata_invalid`, `issuer_unsupported`, or a transport code.
 *
 * @see https://atproto.com/specs/oauth#server-metadata
 */
export async function fetchAuthorizationServer(
  issuer: string,
  pds: string | undefined,
  context: StepContext,
): Promise<AuthorizationServer> {
  const response = await fetchBounded(context.fetch, `${issuer}/.well-known/oauth-authorization-server`, {
    headers: { accept: 'application/json' },
    timeoutMs: 5_000,
    maxBytes: 65_536,
    signal: context.signal,
  })
  const { value: metadata, issues = [] } = parseAuthorizationServerMetadata(parseJson(response))
  const endpoint = (name: string, value: string | undefined) => {
    if (value !== undefined && !parsePartyUrl(value, context.allowHttp))
      issues.push(`${name}: must be an https URL`)
  }
  if (response.status !== 200) issues.unshift(`status ${response.status}`)
  if (metadata && metadata.issuer !== issuer) issues.push('issuer: is not the origin it was fetched from')
  for (const name of [
    'authorization_endpoint',
    'token_endpoint',
    'pushed_authorization_request_endpoint',
    'revocation_endpoint',
  ] as const) {
    endpoint(name, metadata?.[name])
  }
  if (issues.length || !metadata) {
    throw oauthError(
      'issuer_metadata_invalid',
      `The metadata of ${issuer} cannot be used: ${issues.join('; ')}`,
      { issuer, issues },
    )
  }

  const has = (values: readonly string[] | undefined, ...wanted: string[]) =>
    wanted.every((value) => values?.includes(value))
  const missing = Object.entries({
    response_types_supported: has(metadata.response_types_supported, 'code'),
    grant_types_supported: has(metadata.grant_types_supported, 'authorization_code', 'refresh_token'),
    code_challenge_methods_supported: has(metadata.code_challenge_methods_supported, 'S256'),
    token_endpoint_auth_methods_supported: has(
      metadata.token_endpoint_auth_methods_supported,
      'none',
      'private_key_jwt',
    ),
    token_endpoint_auth_signing_alg_values_supported:
      has(metadata.token_endpoint_auth_signing_alg_values_supported, 'ES256') &&
      !has(metadata.token_endpoint_auth_signing_alg_values_supported, 'none'),
    scopes_supported: has(metadata.scopes_supported, 'atproto'),
    authorization_response_iss_parameter_supported:
      metadata.authorization_response_iss_parameter_supported === true,
    require_pushed_authorization_requests: metadata.require_pushed_authorization_requests === true,
    pushed_authorization_request_endpoint: metadata.pushed_authorization_request_endpoint !== undefined,
    dpop_signing_alg_values_supported: has(metadata.dpop_signing_alg_values_supported, 'ES256'),
    require_request_uri_registration: metadata.require_request_uri_registration !== false,
    client_id_metadata_document_supported: metadata.client_id_metadata_document_supported === true,
    protected_resources: !metadata.protected_resources || !pds || has(metadata.protected_resources, pds),
  }).flatMap(([name, met]) => (met ? [] : [name]))
  if (missing.length) {
    throw oauthError('issuer_unsupported', `${issuer} lacks what atproto requires: ${missing.join(', ')}`, {
      issuer,
      missing,
    })
  }

  return {
    issuer,
    authorizationEndpoint: metadata.authorization_endpoint,
    pushedAuthorizationRequestEndpoint: metadata.pushed_authorization_request_endpoint ?? '',
    tokenEndpoint: metadata.token_endpoint,
    revocationEndpoint: metadata.revocation_endpoint,
    responseModes: metadata.response_modes_supported,
    prompts: metadata.prompt_values_supported,
  }
}
