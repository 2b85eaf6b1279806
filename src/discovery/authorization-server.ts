import { oauthError } from '../errors.ts'
import { fetchBounded, parseJson, parsePartyUrl } from '../http.ts'
import { parseAuthorizationServerMetadata, REQUIRED_FLAGS, REQUIRED_VALUES } from '../schemas.ts'
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
  if (response.status !== 200) issues.unshift(`status ${response.status}`)
  if (metadata && metadata.issuer !== issuer) issues.push('issuer')
  for (const [name, value] of Object.entries(metadata ?? {})) {
    if (name.endsWith('_endpoint') && !parsePartyUrl(value, context.allowHttp))
      issues.push(`${name}: not an https URL`)
  }
  if (issues.length || !metadata)
    throw oauthError('issuer_metadata_invalid', { issuer, status: response.status, issues })

  const lists = (name: string) => (metadata[name] ?? []) as string[]
  const missing = Object.keys(REQUIRED_VALUES).filter((name) =>
    REQUIRED_VALUES[name]?.some((value) => !lists(name).includes(value)),
  )
  missing.push(...REQUIRED_FLAGS.filter((name) => metadata[name] !== true))
  const signing = 'token_endpoint_auth_signing_alg_values_supported'
  if (lists(signing).includes('none')) missing.push(`${signing}: without none`)
  if (metadata.require_request_uri_registration === false) missing.push('require_request_uri_registration')
  if (!metadata.pushed_authorization_request_endpoint) missing.push('pushed_authorization_request_endpoint')
  if (metadata.protected_resources && pds && !metadata.protected_resources.includes(pds))
    missing.push('protected_resources')
  if (missing.length) throw oauthError('issuer_unsupported', { issuer, missing })

  return {
    issuer,
    authorizationEndpoint: metadata.authorization_endpoint,
    pushedAuthorizationRequestEndpoint: metadata.pushed_authorization_request_endpoint,
    tokenEndpoint: metadata.token_endpoint,
    revocationEndpoint: metadata.revocation_endpoint,
    responseModes: metadata.response_modes_supported,
    prompts: metadata.prompt_values_supported,
  }
}
