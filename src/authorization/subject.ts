import { discoverServer } from '../discovery/discover.ts'
import { oauthError } from '../errors.ts'
import { type AtprotoDidDocument, resolveDidDocument } from '../identity/did-document.ts'
import { resolveIdentity, verifyHandle } from '../identity/identity.ts'
import { runStep, type StepContext } from '../steps.ts'
import type { Did, PendingAuthorization } from '../types.ts'

/** A directory that is slow to say the same again does not hold up a sign-in for longer. */
const RECHECK_WAIT_MS = 1_500

/** Who answers for an account now. */
export interface Authority {
  did: Did
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
): Promise<AtprotoDidDocument | undefined> {
  if (pending.did === undefined) return Promise.resolve(undefined)
  return resolveDidDocument(pending.did, context).catch(() => undefined)
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
  rechecked: Promise<AtprotoDidDocument | undefined>,
  context: StepContext,
): Promise<{ handle: string | undefined; pds: string }> {
  const { did, handle, pds, server } = pending
  return runStep(context, 'verify_subject', async () => {
    const quiet = { ...context, onProgress() {} }
    if (did !== undefined && sub !== did) {
      throw oauthError('subject_mismatch', `${server.issuer} answered for ${sub}, not for ${did}`, {
        expected: did,
        received: sub,
      })
    }
    if (did !== undefined) {
      let timer: ReturnType<typeof setTimeout> | undefined
      const document = await Promise.race([
        rechecked,
        new Promise<undefined>((resolve) => {
          timer = setTimeout(resolve, RECHECK_WAIT_MS)
        }),
      ])
      clearTimeout(timer)
      if (!document || document.pds === pds) return { handle, pds }
    }
    const { issuer, pds: found } = await resolveAuthority(sub, quiet)
    if (issuer !== server.issuer) {
      throw oauthError('issuer_mismatch', `${sub} is in the care of ${issuer}, not of ${server.issuer}`, {
        expected: server.issuer,
        received: issuer,
        did: sub,
      })
    }
    return { handle, pds: found }
  })
}

/** Resolves an account's PDS and issuer anew. */
async function resolveAuthority(did: Did, context: StepContext): Promise<{ issuer: string; pds: string }> {
  const { pds } = await resolveIdentity({ did }, context)
  const { issuer } = await discoverServer(pds, context)
  return { issuer, pds }
}

/**
 * Who answers for an account now, its handle looked up as well.
 *
 * @throws {OAuthError} A code of the resolution.
 */
export async function findAuthority(
  did: Did,
  known: { pds: string; issuer: string },
  context: StepContext,
): Promise<Authority> {
  const identity = await resolveIdentity({ did }, context)
  const [handle, issuer] = await Promise.all([
    verifyHandle(identity, context),
    identity.pds === known.pds
      ? known.issuer
      : discoverServer(identity.pds, context).then((server) => server.issuer),
  ])
  return { did, handle, pds: identity.pds, issuer }
}
