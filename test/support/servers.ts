import { AuthorizationServer } from './authorization-server.ts'
import { ClientRegistry } from './client-registry.ts'
import type { Clock } from './clock.ts'
import type { FakeRequest } from './exchange.ts'
import * as hosts from './hosts.ts'
import { IdentityHosts } from './identity-hosts.ts'
import { Nonces, ReplayMemory } from './proofs.ts'
import { ResourceServer } from './resource-server.ts'
import { json } from './respond.ts'
import { failedToFetch } from './transport.ts'
import type { World } from './world.ts'

export interface ServersOptions {
  /** The PDS is its own authorization server, as a self-hosted one is: `as` answers on the origin of `pds`. */
  standalone?: boolean
  /** Default: ALICE, BOB, CAROL and DORA. */
  accounts?: readonly hosts.FakeAccount[]
}

/** All hosts of one network, and who of them answers a request. */
export class Servers {
  readonly world: World
  readonly identity: IdentityHosts
  readonly as: AuthorizationServer
  readonly as2: AuthorizationServer
  /** The attacker's own, conforming as far as it goes: it may sign in anybody as anybody. */
  readonly evil: AuthorizationServer
  readonly pds: ResourceServer
  readonly pds2: ResourceServer
  /** Server clock minus client clock, milliseconds. */
  skew = 0
  readonly #standalone: boolean
  readonly #evilPds: ResourceServer
  readonly #origins: Map<string, hosts.Role>

  constructor(options: ServersOptions, clock: Clock, violation: (text: string) => void) {
    const { ALICE, BOB, CAROL, DORA, PDS, PDS2, AS2, EVIL } = hosts
    const accounts = (options.accounts ?? [ALICE, BOB, CAROL, DORA]).map((account) => ({ ...account }))
    this.#standalone = options.standalone === true
    const serverNow = (): number => clock.now() + this.skew
    const nonces = new Map<string, Nonces>()
    this.world = {
      clock,
      serverNow,
      accounts,
      clients: new ClientRegistry(),
      sessions: [],
      replay: new ReplayMemory(),
      canaries: [],
      nonces: (origin) => {
        const known = nonces.get(origin) ?? new Nonces(serverNow)
        nonces.set(origin, known)
        return known
      },
      violation,
    }
    this.identity = new IdentityHosts(accounts)
    const { world, identity } = this
    this.as = new AuthorizationServer(world, this.#standalone ? PDS : hosts.AS, [PDS])
    this.as2 = new AuthorizationServer(world, AS2, [PDS2])
    this.evil = new AuthorizationServer(world, EVIL, [EVIL])
    this.pds = new ResourceServer(world, PDS, this.as, identity.resolve)
    this.pds2 = new ResourceServer(world, PDS2, this.as2, identity.resolve)
    this.#evilPds = new ResourceServer(world, EVIL, this.evil, identity.resolve)
    this.#origins = new Map<string, hosts.Role>([
      [hosts.APP, 'app'],
      [hosts.RESOLVER, 'xrpc'],
      [new URL(hosts.DOH).origin, 'doh'],
      [hosts.PLC, 'plc'],
      [PDS, 'pds'],
      [PDS2, 'pds2'],
      [hosts.AS, 'as'],
      [AS2, 'as2'],
      [EVIL, 'evil'],
    ])
  }

  alias(origin: string, role: hosts.Role): void {
    this.#origins.set(new URL(origin).origin, role)
  }

  roleOf(url: URL): hosts.Role {
    if (this.#standalone && url.origin === hosts.PDS && isForIssuer(url.pathname)) return 'as'
    const role = this.#origins.get(url.origin)
    if (role) return role
    if (url.pathname === '/.well-known/did.json') return 'web'
    const isHandle = this.identity.handles.has(url.hostname)
    if (isHandle || url.pathname === '/.well-known/atproto-did') return 'handle'
    return ['127.0.0.1', '[::1]'].includes(url.hostname) ? 'app' : 'unknown'
  }

  authorizationServer(role: hosts.Role): AuthorizationServer | undefined {
    return role === 'as' || role === 'as2' || role === 'evil' ? this[role] : undefined
  }

  /** Whether a request went to the authorization server with this issuer. */
  readonly belongsTo = (issuer: string, request: FakeRequest): boolean =>
    this.authorizationServer(request.role)?.issuer === issuer

  async answer(request: FakeRequest): Promise<Response> {
    const { identity } = this
    switch (request.role) {
      case 'app':
        return this.#answerApp(request)
      case 'xrpc':
        return identity.answerXrpc(request)
      case 'doh':
        return identity.answerDoh(request)
      case 'plc':
        return identity.answerPlc(request)
      case 'handle':
      case 'web': {
        const response = identity.answerHost(request)
        if (!response) throw failedToFetch()
        return response
      }
      case 'pds':
      case 'pds2':
      case 'as':
      case 'as2':
        return this[request.role].answer(request)
      case 'evil':
        return this.#answerEvil(request)
      case 'unknown':
        throw failedToFetch()
    }
  }

  #answerApp(request: FakeRequest): Response {
    const headers = { date: new Date(this.world.serverNow()).toUTCString() }
    const metadata = this.world.clients.published(request.url)
    if (metadata) return json(metadata, { headers })
    return new Response(request.method === 'HEAD' ? null : '<!doctype html>', {
      headers: { ...headers, 'content-type': 'text/html' },
    })
  }

  #answerEvil(request: FakeRequest): Response | Promise<Response> {
    if (isForIssuer(request.path)) return this.evil.answer(request)
    if (request.path === '/.well-known/oauth-protected-resource') return this.#evilPds.answer(request)
    return json({}, { headers: { 'access-control-expose-headers': '*' } })
  }
}

function isForIssuer(path: string): boolean {
  return path.startsWith('/oauth/') || path === '/.well-known/oauth-authorization-server'
}
