import { createDpopContext, type DpopContext, type DpopSource } from '../dpop/fetch.ts'
import { calculateThumbprint } from '../dpop/thumbprint.ts'
import { type BoundedResponse, parseJson, responseInvalid } from '../http.ts'
import { parsePushedAuthorization } from '../schemas.ts'
import { runStep, type StepContext } from '../steps.ts'
import { postForm, refuse } from '../token/endpoint.ts'
import type { DpopNonce } from '../types.ts'
import type { Authorization } from './request.ts'

/** An accepted request, waiting for the person. */
export interface PushedAuthorization {
  /** Where to send the person. */
  url: string
  /** When the server forgets the request if the page is not opened, milliseconds since the epoch. */
  expiresAt: number
  /** The server's nonce for the token request. */
  nonce: DpopNonce | undefined
}

const MAX_LIFETIME_S = 86_400
/** Answers by which a server may say that it insists on a proof. */
const WANTS_PROOF = ['invalid_dpop_proof', 'use_dpop_nonce', 'invalid_request']

/**
 * Pushes an authorization request (RFC 9126) bound to the session's key.
 *
 * A first contact sends the key's thumbprint as `dpop_jkt` (RFC 9449 §10.1): without a `DPoP` header the request needs
 * no preflight, and without a proof no nonce, so it is one round. A server that insists on a proof gets one.
 *
 * @throws {OAuthError} `token_request_failed`, `dpop_rejected`, `response_invalid`, or a transport code.
 */
export function pushAuthorization(
  { parameters, pending }: Authorization,
  session: DpopSource,
  context: StepContext,
): Promise<PushedAuthorization> {
  const { server, dpopKey } = pending
  const url = server.pushedAuthorizationRequestEndpoint
  const { origin } = new URL(url)
  const dpop = createDpopContext(dpopKey, session)
  const push = async (proof: DpopContext | undefined, nonceRetries = 1) => {
    const jkt = proof ? undefined : await calculateThumbprint(dpopKey.publicJwk)
    const response = await postForm(context.fetch, {
      url,
      parameters: { ...parameters, dpop_jkt: jkt },
      dpop: proof,
      nonceRetries,
      timeoutMs: 15_000,
      maxBytes: 16_384,
      signal: context.signal,
    })
    dpop.nonces.learn(origin, response.headers)
    return response
  }

  return runStep(context, 'push_authorization', async () => {
    let sentAt = context.now()
    let response = await push(undefined)
    const { error = '' } = response
    if (WANTS_PROOF.includes(error) || (isSuccess(response) && !dpop.nonces.get(origin))) {
      sentAt = context.now()
      // A nonce that was just given is not asked for again.
      response = await push(dpop, error === 'use_dpop_nonce' ? 0 : 1)
    }
    if (!isSuccess(response)) throw refuse(response, server.issuer, context.now())
    const { value, issues = [] } = parsePushedAuthorization(parseJson(response))
    if (value && !/^[\x21-\x7e]{1,2048}$/.test(value.request_uri)) issues.push('request_uri: not a URI')
    if (!dpop.nonces.get(origin)) issues.push('no DPoP-Nonce')
    const seconds = value?.expires_in
    if (!Number.isFinite(seconds) || Number(seconds) <= 0) issues.push('expires_in')
    if (issues.length || !value) throw responseInvalid(url, response.status, ...issues)
    return {
      url: createAuthorizationUrl(server.authorizationEndpoint, pending.clientId, value.request_uri),
      expiresAt: sentAt + Math.min(Number(seconds), MAX_LIFETIME_S) * 1000,
      nonce: dpop.nonces.entry(origin),
    }
  })
}

function isSuccess({ status }: BoundedResponse): boolean {
  return status === 200 || status === 201
}

/** The endpoint's own query stays, but cannot speak for us (RFC 9126 §4). */
function createAuthorizationUrl(endpoint: string, clientId: string, requestUri: string): string {
  const url = new URL(endpoint)
  url.searchParams.set('client_id', clientId)
  url.searchParams.set('request_uri', requestUri)
  return url.href
}
