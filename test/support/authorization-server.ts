import { type ApproveOptions, type AuthorizationRequest, redirectToClient } from './authorize-page.ts'
import { redirectUriDeclared } from './client-registry.ts'
import { describeRequest, type FakeRequest } from './exchange.ts'
import { randomToken } from './keys.ts'
import { type Nonces, ProofRefused, verifyProof } from './proofs.ts'
import { json, need, Refusal } from './respond.ts'
import { answerRevocation, answerTokenRequest } from './token-endpoint.ts'
import type { World } from './world.ts'

export interface AuthorizationServerSettings {
  /** Seconds. */
  accessTokenLifetime: number
  /** Seconds. */
  refreshTokenLifetime: number
  /** Seconds a request_uri stays good. */
  requestLifetime: number
  /** Refuse a pushed request that carries no proof, as a stricter server may. */
  requireProofAtPar: boolean
}

/** An authorization server that behaves as the reference server does, and is stricter where the profile is. */
export class AuthorizationServer {
  readonly issuer: string
  readonly settings: AuthorizationServerSettings = {
    accessTokenLifetime: 3600,
    refreshTokenLifetime: 14 * 24 * 3600,
    requestLifetime: 300,
    requireProofAtPar: false,
  }
  readonly world: World
  /** Live and dead pushed requests, by request_uri. */
  readonly requests = new Map<string, AuthorizationRequest>()
  readonly usedChallenges = new Set<string>()
  readonly #protectedResources: readonly string[]

  constructor(world: World, issuer: string, protectedResources: readonly string[]) {
    this.world = world
    this.issuer = issuer
    this.#protectedResources = protectedResources
  }

  get nonces(): Nonces {
    return this.world.nonces(this.issuer)
  }

  metadata(): Record<string, unknown> {
    const algorithms = ['RS256', 'PS256', 'ES256', 'ES256K', 'ES384', 'ES512']
    return {
      issuer: this.issuer,
      scopes_supported: ['atproto', 'transition:email', 'transition:generic', 'transition:chat.bsky'],
      subject_types_supported: ['public'],
      response_types_supported: ['code'],
      response_modes_supported: ['query', 'fragment', 'form_post'],
      grant_types_supported: ['authorization_code', 'refresh_token'],
      code_challenge_methods_supported: ['S256'],
      ui_locales_supported: ['en-US'],
      display_values_supported: ['page', 'popup', 'touch'],
      prompt_values_supported: ['none', 'login', 'consent', 'select_account', 'create'],
      authorization_response_iss_parameter_supported: true,
      request_parameter_supported: true,
      request_uri_parameter_supported: true,
      require_request_uri_registration: true,
      jwks_uri: `${this.issuer}/oauth/jwks`,
      authorization_endpoint: `${this.issuer}/oauth/authorize`,
      token_endpoint: `${this.issuer}/oauth/token`,
      token_endpoint_auth_methods_supported: ['none', 'private_key_jwt'],
      token_endpoint_auth_signing_alg_values_supported: algorithms,
      revocation_endpoint: `${this.issuer}/oauth/revoke`,
      pushed_authorization_request_endpoint: `${this.issuer}/oauth/par`,
      require_pushed_authorization_requests: true,
      dpop_signing_alg_values_supported: algorithms,
      protected_resources: this.#protectedResources,
      client_id_metadata_document_supported: true,
    }
  }

  async answer(request: FakeRequest): Promise<Response> {
    if (request.path === '/.well-known/oauth-authorization-server') {
      if (request.method !== 'GET') return new Response(null, { status: 405 })
      return json(this.metadata(), { headers: { 'cache-control': 'max-age=300' } })
    }
    const endpoint = {
      '/oauth/par': () => this.#answerPushedRequest(request),
      '/oauth/token': () => answerTokenRequest(this, request),
      '/oauth/revoke': () => answerRevocation(this, request),
    }[request.path]
    if (!endpoint) return new Response('Not Found', { status: 404 })
    if (request.method !== 'POST') return new Response(null, { status: 405 })
    const accept = request.headers.get('accept')
    if (accept !== null && !/json|\*\/\*/.test(accept)) return new Response(null, { status: 406 })
    let response: Response
    try {
      requireForm(request)
      response = await endpoint()
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      response = error.toResponse()
      if (error.status === 401) response.headers.set('www-authenticate', `DPoP error="${error.error}"`)
    }
    response.headers.set('cache-control', 'no-store')
    response.headers.set('dpop-nonce', this.nonces.next(request.proof?.jkt ?? request.form.dpop_jkt))
    return response
  }

  /** The thumbprint of the proof's key. A missing proof is refused with `missing`. */
  async requireProof(request: FakeRequest): Promise<string> {
    const proof = request.proof
    const target = { method: request.method, target: request.origin + request.path, accessToken: undefined }
    const policy = { now: this.world.serverNow(), nonces: this.nonces, replay: this.world.replay }
    try {
      return await verifyProof(proof, target, policy)
    } catch (error) {
      if (!(error instanceof ProofRefused)) throw error
      throw new Refusal(error.error, error.message, error.error === 'use_dpop_nonce' ? 400 : 401)
    }
  }

  /** Plays the person and the consent page; see `FakeNetwork.approve`. */
  approve(url: URL, options: ApproveOptions): string {
    return redirectToClient(this, url, options)
  }

  async #answerPushedRequest(request: FakeRequest): Promise<Response> {
    const { form } = request
    const proven =
      request.headers.has('dpop') || this.settings.requireProofAtPar
        ? await this.requireProof(request)
        : undefined
    if (proven === undefined && form.dpop_jkt === undefined) {
      this.world.violation(`PAR-06: ${describeRequest(request)} is bound to no key`)
    }
    const metadata = this.world.clients.find(need(form, 'client_id'))
    const check = (holds: boolean, text: string, error = 'invalid_request'): void => {
      if (!holds) throw new Refusal(error, text)
    }
    for (const name of ['request_uri', 'request', 'nonce', 'claims', 'id_token_hint', 'client_secret']) {
      check(form[name] === undefined, `${name} is not allowed`)
    }
    check(form.response_type === 'code', 'response_type must be code', 'unsupported_response_type')
    check(form.code_challenge_method === 'S256', 'code_challenge_method must be S256')
    check(/^[\w-]{43}$/.test(need(form, 'code_challenge')), 'code_challenge is no SHA-256 digest')
    check(need(form, 'state').length >= 22, 'state is guessable')
    const redirectUri = need(form, 'redirect_uri')
    check(
      redirectUriDeclared(metadata, redirectUri),
      `${redirectUri} is not declared`,
      'invalid_redirect_uri',
    )
    const mode = form.response_mode ?? 'query'
    check(['query', 'fragment', 'form_post'].includes(mode), `response_mode ${mode} is unknown`)
    const scope = need(form, 'scope')
    const scopes = scope.split(' ')
    const declared = (metadata.scope ?? '').split(' ')
    check(scopes.includes('atproto'), 'scope lacks atproto', 'invalid_scope')
    for (const value of scopes) check(declared.includes(value), `"${value}" is not declared`, 'invalid_scope')
    const hint = form.login_hint
    check(
      hint === undefined || /^did:(plc|web):\S+$|^[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)+$/.test(hint),
      'Invalid login_hint',
    )
    const prompts = [undefined, 'login', 'consent', 'select_account', 'create']
    check(form.prompt !== 'none', 'Public clients are not allowed to use silent-sign-on')
    check(prompts.includes(form.prompt), `prompt ${form.prompt} is unknown`)
    check(
      /^[a-z]{2,3}(-[A-Z]{2})?( [a-z]{2,3}(-[A-Z]{2})?)*$/.test(form.ui_locales ?? 'en'),
      'Invalid ui_locales',
    )
    check(['page', 'popup', 'touch', 'wap'].includes(form.display ?? 'page'), 'Invalid display')
    if (proven !== undefined && form.dpop_jkt !== undefined && proven !== form.dpop_jkt) {
      throw new Refusal('invalid_token', 'DPoP key mismatch', 401)
    }
    const requestUri = `urn:ietf:params:oauth:request_uri:${randomToken('req')}`
    this.requests.set(requestUri, {
      clientId: metadata.client_id,
      grantsRefresh: metadata.grant_types?.includes('refresh_token') === true,
      redirectUri,
      responseMode: mode,
      scope,
      state: form.state ?? '',
      challenge: form.code_challenge ?? '',
      jkt: proven ?? form.dpop_jkt,
      loginHint: hint?.toLowerCase(),
      parameters: form,
      expiresAt: this.world.serverNow() + this.settings.requestLifetime * 1000,
      used: false,
      grant: undefined,
    })
    return json({ request_uri: requestUri, expires_in: this.settings.requestLifetime }, { status: 201 })
  }
}

function requireForm(request: FakeRequest): void {
  const type = request.headers.get('content-type')?.split(';')[0]?.trim().toLowerCase()
  if (type !== 'application/x-www-form-urlencoded') {
    throw new Refusal('invalid_request', `Unsupported content type ${type}`, 415)
  }
  const names = [...new URLSearchParams(request.text).keys()]
  if (new Set(names).size !== names.length) throw new Refusal('invalid_request', 'A parameter is repeated')
}
