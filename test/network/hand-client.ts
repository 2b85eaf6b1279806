import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, SignJWT } from 'jose'
import type { Account, ConnectedNetwork } from './network.ts'

export interface TokenAnswer {
  status: number
  body: { access_token: string; refresh_token: string; expires_in: number; sub: string; error?: string }
}

/** The least OAuth client there can be, so that the network can be tested without the SDK. */
export async function signInByHand(network: ConnectedNetwork, account: Account) {
  const { publicKey, privateKey } = await generateKeyPair('ES256')
  const jwk = await exportJWK(publicKey)
  const redirect_uri = 'http://127.0.0.1/callback'
  const client_id = `http://localhost?${new URLSearchParams({ redirect_uri, scope: 'atproto transition:generic' })}`
  const verifier = randomBytes(32).toString('base64url')
  let nonce: string | null = null

  async function send(url: string, init: RequestInit & { headers?: Record<string, string> }, token?: string) {
    const { origin, pathname } = new URL(url)
    const claims = {
      jti: randomUUID(),
      htm: init.method ?? 'GET',
      htu: origin + pathname,
      ...(nonce && { nonce }),
      ...(token && { ath: createHash('sha256').update(token).digest('base64url') }),
    }
    const dpop = await new SignJWT(claims)
      .setProtectedHeader({ typ: 'dpop+jwt', alg: 'ES256', jwk })
      .setIssuedAt()
      .sign(privateKey)
    const authorization = token && { authorization: `DPoP ${token}` }
    const response = await fetch(url, { ...init, headers: { ...init.headers, dpop, ...authorization } })
    nonce = response.headers.get('dpop-nonce') ?? nonce
    return response
  }

  async function token(fields: Record<string, string>, signal?: AbortSignal): Promise<TokenAnswer> {
    const response = await send(`${account.pds}/oauth/token`, {
      method: 'POST',
      body: new URLSearchParams({ client_id, ...fields }),
      ...(signal && { signal }),
    })
    return { status: response.status, body: await response.json() }
  }

  const pushed = await fetch(`${account.pds}/oauth/par`, {
    method: 'POST',
    body: new URLSearchParams({
      client_id,
      redirect_uri,
      response_type: 'code',
      scope: 'atproto transition:generic',
      state: randomUUID(),
      code_challenge: createHash('sha256').update(verifier).digest('base64url'),
      code_challenge_method: 'S256',
      dpop_jkt: await calculateJwkThumbprint(jwk),
      login_hint: account.handle,
    }),
  })
  nonce = pushed.headers.get('dpop-nonce')
  const { request_uri } = await pushed.json()
  const query = new URLSearchParams({ client_id, request_uri })
  const callback = new URL(await network.authorize(`${account.pds}/oauth/authorize?${query}`, account))
  const code = callback.searchParams.get('code') ?? ''

  return {
    tokens: await token({ grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri }),
    refresh: (refresh_token: string, signal?: AbortSignal) =>
      token({ grant_type: 'refresh_token', refresh_token }, signal),
    xrpc: (
      path: string,
      accessToken: string,
      init: RequestInit & { headers?: Record<string, string> } = {},
    ) => send(`${account.pds}/xrpc/${path}`, init, accessToken),
  }
}
