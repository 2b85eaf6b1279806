import { discoverServer } from '../discovery/discover.ts'
import { isOAuthError, oauthError } from '../errors.ts'
import { type AtprotoDidDocument, resolveDidDocument } from '../identity/did-document.ts'
import { identify } from '../identity/identifier.ts'
import { resolveIdentity, verifyHandle } from '../identity/identity.ts'
import { runStep, type StepContext } from '../steps.ts'
import { within } from '../time.ts'
import type { Did, PendingAuthorization } from '../types.ts'

/** A directory that is slow to say the same again does not hold up a sign-in for longer. */
const RECHECK_WAIT_MS = 1_500

/** Who answers for an account now. */
export interface Authority {
  /** Only when it was verified in both directions. */
  handle: string | undefined
  pds: string
  issuer: string
}

/**
 * Looks once more at the document of the account asked for, beside the token request: it may have been changed while
 * the person was signing in. A directory that cannot be reached changes nothing; the account's server is known.
 */
export function recheckIdentity(
  pending: PendingAuthorization,
  context: StepContext,
): Promise<Partial<AtprotoDidDocument> | undefined> {
  if (pending.did === undefined) return Promise.resolve(undefined)
  // That there is no such account, or none with a server, is an answer too.
  const isAnswer = (error: unknown) =>
    isOAuthError(error, 'did_not_found') ||
    (isOAuthError(error, 'did_document_invalid') && error.status === 200)
  return resolveDidDocument(pending.did, context).catch((error) => (isAnswer(error) ? {} : undefined))
}

/**
 * Decides whether the server may speak for the account it names.
 *
 * If sign-in began with an account, that account's server was found before anything was asked of it: the DID must be
 * the same, and the document must still name the same PDS. If it began with a server, the DID is resolved now and must
 * lead back to that issuer.
 *
 * @throws {OAuthError} `subject_mismatch`, `issuer_mismatch`, or a code of the resolution.
 *
 * @see https://atproto.com/specs/oauth#identity-authentication
 */
export function verifySubject(
  sub: Did,
  pending: PendingAuthorization,
  rechecked: Promise<Partial<AtprotoDidDocument> | undefined>,
  context: StepContext,
): Promise<{ handle: string | undefined; pds: string }> {
  const { did, handle, pds, server } = pending
  return runStep(context, 'verify_subject', async () => {
    if (did !== undefined && sub !== did)
      throw oauthError('subject_mismatch', { expected: did, received: sub })
    if (did !== undefined) {
      const document = await within(rechecked, RECHECK_WAIT_MS)
      if (!document || document.pds === pds) return { handle, pds }
    }
    const { issuer, pds: found } = await findAuthority(sub, undefined, { ...context, onProgress() {} })
    if (issuer !== server.issuer)
      throw oauthError('issuer_mismatch', { expected: server.issuer, received: issuer, did: sub })
    return { handle, pds: found }
  })
}

/**
 * Who answers for an account now.
 *
 * @param known - PDS and issuer that were seen to belong together, and the handle: while the PDS is the same, so is the
 *   issuer, and the handle is looked up instead.
 * @throws {OAuthError} A code of the resolution.
 */
export async function findAuthority(
  did: Did,
  known: Authority | undefined,
  context: StepContext,
): Promise<Authority> {
  const identity = await resolveIdentity(identify({ did }), context)
  const { pds } = identity
  const [handle, issuer] = await Promise.all([
    known && verifyHandle(identity, context, known.handle),
    pds === known?.pds ? known.issuer : discoverServer(pds, context).then((server) => server.issuer),
  ])
  return { handle, pds, issuer }
}
