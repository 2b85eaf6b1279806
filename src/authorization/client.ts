import {
  checkClientMetadata,
  chooseRedirectUri,
  findUndeclared,
  type OAuthClientMetadata,
} from '../config.ts'
import { oauthError } from '../errors.ts'
import { fetchBounded, parseJson } from '../http.ts'
import { parseClientMetadata } from '../schemas.ts'
import type { StepContext } from '../steps.ts'

/** Who asks: the client and where its answers go. */
export interface Client {
  clientId: string
  redirectUri: string
  metadata: OAuthClientMetadata
}

/**
 * The client metadata the app was given, or else the document at its `client_id`, held against the same rules.
 *
 * @throws {OAuthError} `client_metadata_invalid`, or a transport code.
 */
export async function resolveClient(context: StepContext): Promise<Client> {
  const { clientId, clientMetadata, redirectUri } = context
  if (clientMetadata) return { clientId, metadata: clientMetadata, redirectUri: redirectUri ?? '' }
  const response = await fetchBounded(context.fetch, clientId, {
    headers: { accept: 'application/json' },
    timeoutMs: 5_000,
    maxBytes: 65_536,
    signal: context.signal,
  })
  const { value, issues = [] } = parseClientMetadata(parseJson(response))
  if (response.status !== 200) issues.unshift(`status ${response.status}`)
  if (value) issues.push(...checkClientMetadata(value, context.allowHttp))
  if (value && value.client_id !== clientId)
    issues.push('client_id must be the URL the document is served from')
  if (issues.length || !value) throw invalid(clientId, issues)
  return { clientId, metadata: value, redirectUri: chooseRedirectUri(value, redirectUri) }
}

/** @throws {OAuthError} `client_metadata_invalid` for scopes that the document does not declare. */
export function requireDeclaredScope(client: Client, scope: string): void {
  const undeclared = findUndeclared(scope, client.metadata)
  if (undeclared.length) throw invalid(client.clientId, undeclared)
}

function invalid(url: string, issues: string[]): Error {
  return oauthError('client_metadata_invalid', { url, issues })
}
