import { isOAuthError } from '../errors.ts'
import { NOT_AN_OBJECT } from '../schemas.ts'
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
        const unanswered =
          (isOAuthError(error, 'network_failed') || isOAuthError(error, 'response_invalid')) &&
          error.url.endsWith('/oauth-protected-resource')
        const absent = isOAuthError(error, 'resource_metadata_invalid') && isAbsent(error)
        if (!absent && !unanswered) throw error
        return fetchAuthorizationServer(server, undefined, shared).catch((reason: unknown) => {
          // Where neither document is, the one asked for first says more.
          throw absent && isOAuthError(reason, 'issuer_metadata_invalid') && isAbsent(reason) ? error : reason
        })
      }
    }),
  )
}

/** A host says that it has no such document by its status, or with the page it has for everything it does not know. */
function isAbsent({ status, issues }: { status: number; issues: string[] }): boolean {
  return status === 200
    ? issues[0] === NOT_AN_OBJECT
    : status >= 400 && status < 500 && status !== 408 && status !== 429
}

async function discover(pds: string, context: StepContext): Promise<AuthorizationServer> {
  const speculative = fetchAuthorizationServer(pds, pds, context)
  speculative.catch(() => {})
  const issuer = await fetchIssuer(pds, context)
  return issuer === pds ? speculative : fetchAuthorizationServer(issuer, pds, context)
}
