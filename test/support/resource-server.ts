import type { AuthorizationServer } from './authorization-server.ts'
import type { FakeRequest } from './exchange.ts'
import { ProofRefused, verifyProof } from './proofs.ts'
import { json, xrpcError } from './respond.ts'
import type { FakeSession, World } from './world.ts'

const ALGORITHMS = 'RS256 PS256 ES256 ES256K ES384 ES512'

/** A personal data server: protected-resource metadata, public and DPoP-authenticated XRPC. */
export class ResourceServer {
  readonly origin: string
  /** Scope an XRPC method asks for, by NSID. A method not listed asks for none but `atproto`. */
  readonly requiredScopes = new Map<string, string>()
  readonly world: World
  readonly #issuer: AuthorizationServer
  readonly #resolve: (handle: string) => string | undefined

  constructor(
    world: World,
    origin: string,
    issuer: AuthorizationServer,
    resolve: (handle: string) => string | undefined,
  ) {
    this.world = world
    this.origin = origin
    this.#issuer = issuer
    this.#resolve = resolve
  }

  metadata(): Record<string, unknown> {
    return {
      resource: this.origin,
      authorization_servers: [this.#issuer.issuer],
      scopes_supported: [],
      bearer_methods_supported: ['header'],
      resource_documentation: 'https://atproto.com',
    }
  }

  async answer(request: FakeRequest): Promise<Response> {
    if (request.path === '/.well-known/oauth-protected-resource') return json(this.metadata())
    const nsid = /^\/xrpc\/([a-zA-Z0-9.-]+)$/.exec(request.path)?.[1]
    if (nsid === undefined) return new Response('Not Found', { status: 404 })
    const open = this.#answerPublic(nsid, request)
    if (open) return open

    const scheme = request.headers.get('authorization')?.split(' ')[0]
    if (scheme === undefined) return xrpcError(401, 'AuthMissing', 'Authentication Required')
    if (scheme !== 'DPoP') return xrpcError(400, 'InvalidToken', 'Malformed token')
    const response = await this.#answerAuthorized(nsid, request)
    response.headers.set('dpop-nonce', this.world.nonces(this.origin).next(request.proof?.jkt))
    return response
  }

  #answerPublic(nsid: string, request: FakeRequest): Response | undefined {
    if (nsid === 'com.atproto.server.describeServer') {
      return json({ did: `did:web:${new URL(this.origin).hostname}`, availableUserDomains: ['.handles.dev'] })
    }
    if (nsid === 'com.atproto.identity.resolveHandle') {
      return answerResolveHandle(request, this.#resolve)
    }
    return undefined
  }

  async #answerAuthorized(nsid: string, request: FakeRequest): Promise<Response> {
    const refuse = (error: string, message: string): Response =>
      xrpcError(401, error, message, { 'www-authenticate': `DPoP algs="${ALGORITHMS}", error="${error}"` })
    const { accessToken } = request
    let jkt: string
    try {
      jkt = await verifyProof(
        request.proof,
        { method: request.method, target: request.origin + request.path, accessToken },
        { now: this.world.serverNow(), nonces: this.world.nonces(this.origin), replay: this.world.replay },
      )
    } catch (error) {
      if (!(error instanceof ProofRefused)) throw error
      return refuse(error.error, error.message)
    }
    const session = this.#sessionOf(accessToken)
    if (!session) return refuse('invalid_token', 'Invalid token')
    if (session.jkt !== jkt) return refuse('invalid_token', 'Invalid DPoP key binding')
    if (session.accessExpiresAt <= this.world.serverNow()) return refuse('invalid_token', 'Token expired')
    const scope = this.requiredScopes.get(nsid)
    if (scope !== undefined && !session.scope.split(' ').includes(scope)) {
      return xrpcError(403, 'ScopeMissingError', `Missing required scope "${scope}"`)
    }
    return this.#serve(nsid, request, session)
  }

  /** A token is good at the server its account lives on now, and at no other. */
  #sessionOf(accessToken: string | undefined): FakeSession | undefined {
    const session = this.world.sessions.find((known) => known.alive && known.accessToken === accessToken)
    if (session?.issuer !== this.#issuer.issuer) return undefined
    const account = this.world.accounts.find(({ did }) => did === session.did)
    return account?.pds === this.origin ? session : undefined
  }

  #serve(nsid: string, request: FakeRequest, session: FakeSession): Response {
    if (nsid === 'com.atproto.server.getSession') {
      const account = this.world.accounts.find(({ did }) => did === session.did)
      return json({ did: session.did, handle: account?.handle, active: true })
    }
    const headers = Object.fromEntries(request.headers)
    delete headers.authorization
    delete headers.dpop
    return json({
      did: session.did,
      nsid,
      method: request.method,
      query: Object.fromEntries(request.query),
      headers,
      body: request.text,
    })
  }
}

/** `com.atproto.identity.resolveHandle`, as the reference server answers it. */
export function answerResolveHandle(
  request: FakeRequest,
  resolve: (handle: string) => string | undefined,
): Response {
  const handle = request.query.get('handle')
  if (!handle) return xrpcError(400, 'InvalidRequest', 'Error: Params must have the property "handle"')
  const did = resolve(handle)
  return did === undefined ? xrpcError(400, 'InvalidRequest', 'Unable to resolve handle') : json({ did })
}
