import type { AuthorizationServer } from './authorization-server.ts'
import type { AuthorizationRequest } from './authorize-page.ts'
import { describeRequest, type FakeRequest } from './exchange.ts'
import { randomToken, sha256 } from './keys.ts'
import { json, need, Refusal } from './respond.ts'
import type { FakeSession } from './world.ts'

/** `/oauth/token`. Proof and nonce come first, so a nonce retry burns neither code nor refresh token. */
export async function answerTokenRequest(
  server: AuthorizationServer,
  request: FakeRequest,
): Promise<Response> {
  const { form } = request
  const clientId = need(form, 'client_id')
  const grantType = need(form, 'grant_type')
  const jkt = await server.requireProof(request)
  server.world.clients.find(clientId)
  if (grantType === 'authorization_code') return redeemCode(server, form, clientId, jkt)
  if (grantType === 'refresh_token') return refresh(server, form, clientId, jkt)
  throw new Refusal('unsupported_grant_type', `${grantType} is not supported`)
}

function redeemCode(
  server: AuthorizationServer,
  form: Readonly<Record<string, string>>,
  clientId: string,
  jkt: string,
): Response {
  const { world } = server
  const code = need(form, 'code')
  const verifier = need(form, 'code_verifier')
  if (!/^[A-Za-z0-9._~-]{43,128}$/.test(verifier)) {
    throw new Refusal('invalid_request', 'code_verifier must be 43 to 128 unreserved characters')
  }
  const pending = [...server.requests.values()].find(({ grant }) => grant?.code === code)
  if (!pending?.grant) throw invalidGrant('Invalid code')
  const { grant } = pending
  if (grant.spent) {
    end(
      world.sessions.find((session) => session.code === code),
      'code_replay',
    )
    throw invalidGrant('Code replayed')
  }
  grant.spent = true
  checkGrant(server, pending, form, { clientId, jkt, verifier })
  server.usedChallenges.add(pending.challenge)

  const now = world.serverNow()
  const session: FakeSession = {
    id: world.sessions.length + 1,
    did: grant.did,
    clientId,
    jkt,
    issuer: server.issuer,
    pds: world.accounts.find(({ did }) => did === grant.did)?.pds ?? '',
    scope: grant.scope,
    createdAt: now,
    accessToken: '',
    accessExpiresAt: 0,
    refreshToken: undefined,
    refreshExpiresAt: now + server.settings.refreshTokenLifetime * 1000,
    spentRefreshTokens: new Set(),
    code,
    alive: true,
    endedBy: undefined,
  }
  world.sessions.push(session)
  return issueTokens(server, session, pending.grantsRefresh)
}

function checkGrant(
  server: AuthorizationServer,
  pending: AuthorizationRequest,
  form: Readonly<Record<string, string>>,
  { clientId, jkt, verifier }: { clientId: string; jkt: string; verifier: string },
): void {
  const must = (holds: boolean, description: string): void => {
    if (!holds) throw invalidGrant(description)
  }
  must((pending.grant?.expiresAt ?? 0) >= server.world.serverNow(), 'The code has expired')
  must(pending.clientId === clientId, 'The code was issued to another client')
  must(
    form.redirect_uri === pending.redirectUri,
    'The redirect_uri parameter must match the one of the request',
  )
  must(sha256(verifier) === pending.challenge, 'Invalid code_verifier')
  must(pending.jkt === undefined || pending.jkt === jkt, 'DPoP key mismatch')
  must(!server.usedChallenges.has(pending.challenge), 'Code challenge already used')
}

function refresh(
  server: AuthorizationServer,
  form: Readonly<Record<string, string>>,
  clientId: string,
  jkt: string,
): Response {
  const token = need(form, 'refresh_token')
  const live = server.world.sessions.filter(({ alive, issuer }) => alive && issuer === server.issuer)
  const session = live.find((known) => known.refreshToken === token || known.spentRefreshTokens.has(token))
  if (!session) throw invalidGrant('Invalid refresh token')
  const refuse = (reason: FakeSession['endedBy'], description: string): never => {
    end(session, reason)
    throw invalidGrant(description)
  }
  if (session.refreshToken !== token) {
    server.world.violation(`INV8: a spent refresh token of ${session.did} was sent again`)
    return refuse('refresh_replay', 'Refresh token replayed')
  }
  if (session.clientId !== clientId) return refuse('refresh_misuse', 'Token was not issued to this client')
  if (session.jkt !== jkt) return refuse('refresh_misuse', 'DPoP key mismatch')
  const now = server.world.serverNow()
  const sessionEnd = session.createdAt + 14 * 24 * 3600_000
  if (session.refreshExpiresAt < now || sessionEnd < now) return refuse('expiry', 'Refresh token expired')
  session.spentRefreshTokens.add(token)
  session.refreshExpiresAt = now + server.settings.refreshTokenLifetime * 1000
  return issueTokens(server, session, true)
}

function issueTokens(server: AuthorizationServer, session: FakeSession, withRefreshToken: boolean): Response {
  const { world, issuer } = server
  const lifetime = server.settings.accessTokenLifetime
  session.accessToken = randomToken('AT')
  session.accessExpiresAt = world.serverNow() + lifetime * 1000
  session.refreshToken = withRefreshToken ? randomToken('RT') : undefined
  world.canaries.push({ value: session.accessToken, kind: 'access token', issuer, pds: session.pds })
  if (session.refreshToken !== undefined) {
    world.canaries.push({ value: session.refreshToken, kind: 'refresh token', issuer, pds: session.pds })
  }
  return json({
    access_token: session.accessToken,
    token_type: 'DPoP',
    ...(session.refreshToken !== undefined && { refresh_token: session.refreshToken }),
    scope: session.scope,
    expires_in: lifetime - 1,
    sub: session.did,
  })
}

/** `/oauth/revoke`: 200 whatever happens, except for a bad body, nonce or proof. */
export async function answerRevocation(server: AuthorizationServer, request: FakeRequest): Promise<Response> {
  const { world } = server
  const token = need(request.form, 'token')
  const hint = request.form.token_type_hint
  if (hint !== undefined && hint !== 'access_token' && hint !== 'refresh_token') {
    throw new Refusal('invalid_request', 'token_type_hint is unknown')
  }
  if (!request.headers.has('dpop')) {
    world.violation(`REV-03: ${describeRequest(request)} revokes without a proof, which does nothing`)
    return json({})
  }
  const jkt = await server.requireProof(request)
  const session = world.sessions.find(
    (known) =>
      known.issuer === server.issuer &&
      (known.accessToken === token ||
        known.refreshToken === token ||
        known.spentRefreshTokens.has(token) ||
        known.code === token),
  )
  if (session && session.clientId === request.form.client_id && session.jkt === jkt)
    end(session, 'revocation')
  return json({})
}

function end(session: FakeSession | undefined, reason: FakeSession['endedBy']): void {
  if (!session?.alive) return
  session.alive = false
  session.endedBy = reason
}

function invalidGrant(description: string): Refusal {
  return new Refusal('invalid_grant', description)
}
