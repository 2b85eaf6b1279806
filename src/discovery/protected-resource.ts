import { oauthError } from '../errors.ts'
import { fetchBounded, NOT_AN_ORIGIN, parseJson, parseOrigin } from '../http.ts'
import { parseProtectedResourceMetadata } from '../schemas.ts'
import type { StepContext } from '../steps.ts'

/**
 * Fetches a PDS's metadata and returns the one issuer it names (RFC 9728, atproto OAuth "Server Metadata").
 *
 * @throws {OAuthError} `resource_metadata_invalid`, or a transport code.
 */
export async function fetchIssuer(pds: string, context: StepContext): Promise<string> {
  const response = await fetchBounded(context.fetch, `${pds}/.well-known/oauth-protected-resource`, {
    headers: { accept: 'application/json' },
    timeoutMs: 5_000,
    maxBytes: 32_768,
    signal: context.signal,
  })
  const { value, issues = [] } = parseProtectedResourceMetadata(parseJson(response))
  if (response.status !== 200) issues.unshift(`status ${response.status}`)
  if (value && value.resource !== pds) issues.push('resource')
  if (value && value.authorization_servers.length !== 1) issues.push('authorization_servers: not exactly one')
  const issuer = parseOrigin(value?.authorization_servers[0], context.allowHttp)
  if (value && !issuer) issues.push(`authorization_servers: ${NOT_AN_ORIGIN}`)
  if (issues.length || !issuer)
    throw oauthError('resource_metadata_invalid', { pds, status: response.status, issues })
  return issuer
}
