import { isOAuthError } from '../errors.ts'
import { runStep, type StepContext } from '../steps.ts'
import type { AuthorizationServer } from '../types.ts'
import { fetchAuthorizationServer } from './authorization-server.ts'
import { fetchIssuer } from './protected-resource.ts'

/**
 * Finds the authorization server that may speak for a PDS. Most PDSes are their own, so the PDS's own
 * authorization-server metadata is fetched beside its resource metadata instead of after it.
 *
 * @throws {OAuthError} `resource_metadata_invalid`, `issuer_metadata_invalid`, `issuer_unsupported`, or a transport code.
 */
export function discoverServer(pds: string, context: StepContext): Promise<AuthorizationServer> {
  return runStep(context, 'discover_server', () => context.remember(pds, (shared) => discover(pds, shared)))
}

/**
 * Like {@link discoverServer} for a URL that a person gave: it may also name an authorization server that is nobody's
 * PDS.
 */
export function discoverNamedServer(server: string, context: StepContext): Promise<AuthorizationServer> {
  return runStep(context, 'discover_server', () =>
    context.remember(`named ${server}`, async (shared) => {
      try {
        return await discover(server, shared)
      } catch (error) {
        // A browser cannot tell a 404 without CORS headers from no answer at all.
        const absent = isOAuthError(error, 'resource_metadata_invalid') && error.issues[0] === 'status 404'
        const unanswered =
          isOAuthError(error, 'network_failed') && error.url.endsWith('/oauth-protected-resource')
        if (!absent && !unanswered) throw error
        return fetchAuthorizationServer(server, undefined, shared)
      }
    }),
  )
}

async function discover(pds: string, context: StepContext): Promise<AuthorizationServer> {
  const speculative = fetchAuthorizationServer(pds, pds, context)
  speculative.catch(() => {})
  const issuer = await fetchIssuer(pds, context)
  return issuer === pds ? speculative : fetchAuthorizationServer(issuer, pds, context)
}
