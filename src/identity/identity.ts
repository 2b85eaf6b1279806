import { isOAuthError, oauthError } from '../errors.ts'
import { runStep, type StepContext } from '../steps.ts'
import type { Did, Identity } from '../types.ts'
import { resolveDidDocument } from './did-document.ts'
import { resolveHandle } from './handle-resolvers.ts'
import { isResolvable } from './identifier.ts'

/**
 * Walks handle → DID → DID document and returns what the chain proved: a handle only if the document claims it back.
 * One request for a DID, two or more for a handle.
 *
 * @throws {OAuthError} `handle_not_found`, `handle_ambiguous`, `handle_mismatch`, `did_not_found`,
 *   `did_document_invalid`, or a transport code.
 *
 * @see https://atproto.com/specs/oauth#identity-authentication
 */
export async function resolveIdentity(
  identifier: { handle: string } | { did: Did },
  context: StepContext,
): Promise<Identity> {
  const handle = 'handle' in identifier ? identifier.handle : undefined
  const did =
    'did' in identifier
      ? identifier.did
      : await runStep(context, 'resolve_handle', () =>
          context.remember(`handle ${handle}`, (shared) => resolveHandle(identifier.handle, shared)),
        )
  const document = await runStep(context, 'resolve_did', () =>
    context.remember(did, (shared) => resolveDidDocument(did, shared)),
  )

  // Whoever owns a name decides where it points; only the account can say that the name is its own.
  if (handle !== undefined && document.claimedHandle !== handle) {
    throw oauthError('handle_mismatch', { handle, did })
  }
  return { ...document, handle }
}

/**
 * The handle an account claims, if that handle leads back to the account. Anything else is no handle, not an error.
 *
 * @param verified - The handle that was verified last; it stands while nobody can be asked.
 */
export async function verifyHandle(
  identity: Identity,
  context: StepContext,
  verified?: string,
): Promise<string | undefined> {
  const { did, claimedHandle } = identity
  if (!claimedHandle || !isResolvable(claimedHandle, context.allowHttp)) return undefined
  try {
    return (await resolveHandle(claimedHandle, context)) === did ? claimedHandle : undefined
  } catch (error) {
    if (!isOAuthError(error)) throw error
    const denied = error.code === 'handle_not_found' || error.code === 'handle_ambiguous'
    return verified === claimedHandle && !denied ? verified : undefined
  }
}
