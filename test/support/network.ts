import type { AuthorizationServer } from './authorization-server.ts'
import type { ApproveOptions } from './authorize-page.ts'
import type { ClientRegistry } from './client-registry.ts'
import { type Clock, createClock, START_OF_TIME } from './clock.ts'
import { describeMatch, describeRequest, type FakeRequest, matches, type RequestMatch } from './exchange.ts'
import type { Handler } from './faults.ts'
import type { FakeAccount, Role } from './hosts.ts'
import type { IdentityHosts } from './identity-hosts.ts'
import { Invariants, strayCanaries } from './invariants.ts'
import type { ResourceServer } from './resource-server.ts'
import { type Fault, Rules } from './rules.ts'
import { findSecrets } from './secrets.ts'
import { Servers, type ServersOptions } from './servers.ts'
import { createFetch } from './transport.ts'
import type { FakeSession } from './world.ts'

export { callbackParameters, editCallback } from './callback-url.ts'
export { at, type FakeRequest, type RequestMatch } from './exchange.ts'
export * as faults from './faults.ts'
export * from './hosts.ts'
export type { Fault } from './rules.ts'

export interface FakeNetworkOptions extends ServersOptions {
  /** First moment of the clock, milliseconds. */
  start?: number
}

interface State {
  readonly servers: Servers
  readonly rules: Rules
  readonly invariants: Invariants
  readonly log: FakeRequest[]
  readonly navigations: string[]
  readonly expectations: { match: RequestMatch; times: number | undefined }[]
  readonly tolerated: (string | RegExp)[]
  readonly waiting: Set<() => void>
}

/**
 * An AT Protocol network in memory: directory, resolvers, two resource servers, two authorization
 * servers, and an attacker. Hand `network.fetch` and `network.clock.now` to the client, and call
 * `assertClean` when the test is done: it also judges how the client behaved.
 *
 * @example
 * network.on(at.refresh, faults.loseAnswer(), { times: 1 })
 * network.on(at.issuerMetadata, faults.changeJson((metadata) => delete metadata.token_endpoint && metadata))
 * network.expect(at.revoke)
 */
export class FakeNetwork {
  readonly clock: Clock
  /** Like the browser's, it refuses to be called as a method of a foreign object. */
  readonly fetch: typeof fetch
  readonly #options: FakeNetworkOptions
  #state: State

  constructor(options: FakeNetworkOptions = {}) {
    this.#options = options
    this.clock = createClock(options.start)
    this.#state = this.#begin()
    const send = createFetch({
      now: this.clock.now,
      roleOf: (url) => this.#state.servers.roleOf(url),
      arrived: (request) => this.#arrived(request),
      answer: (request) => this.#answer(request),
      settled: (request) => this.#settled(request),
    })
    const network = this
    this.fetch = function (this: unknown, input, init) {
      if (this !== undefined && this !== globalThis && this !== network) {
        return Promise.reject(new TypeError('Illegal invocation'))
      }
      return send(input, init)
    }
  }

  /** Every request, in order of arrival. */
  get log(): readonly FakeRequest[] {
    return this.#state.log
  }

  /** Authorization URLs `approve` was given. */
  get navigations(): readonly string[] {
    return this.#state.navigations
  }

  get as(): AuthorizationServer {
    return this.#state.servers.as
  }

  get as2(): AuthorizationServer {
    return this.#state.servers.as2
  }

  /** The attacker's authorization server. */
  get evil(): AuthorizationServer {
    return this.#state.servers.evil
  }

  get pds(): ResourceServer {
    return this.#state.servers.pds
  }

  get pds2(): ResourceServer {
    return this.#state.servers.pds2
  }

  /** Where each handle is published; `set` replaces all of it, `delete` makes its host disappear. */
  get handles(): IdentityHosts['handles'] {
    return this.#state.servers.identity.handles
  }

  /** Client metadata the authorization servers can fetch. */
  get clients(): ClientRegistry {
    return this.#state.servers.world.clients
  }

  /** Back to the first moment, with nobody signed in, nothing logged, no faults. */
  reset(): void {
    this.#state = this.#begin()
    this.clock.set(this.#options.start ?? START_OF_TIME)
  }

  /** Requests to a role (and path), or those that match. */
  requests(match: RequestMatch): readonly FakeRequest[]
  requests(role?: Role, path?: string | RegExp): readonly FakeRequest[]
  requests(roleOrMatch: Role | RequestMatch = {}, path?: string | RegExp): readonly FakeRequest[] {
    const match = typeof roleOrMatch === 'string' ? { role: roleOrMatch, ...(path && { path }) } : roleOrMatch
    return this.log.filter((request) => matches(match, request))
  }

  count(match: RequestMatch): number {
    return this.requests(match).length
  }

  /** Resolves with the nth request that matches, once the client has its answer. It may lie in the past. */
  async settled(match: RequestMatch, nth = 1): Promise<FakeRequest> {
    for (;;) {
      const request = this.requests(match)[nth - 1]
      if (request && request.outcome !== 'open') return request
      await new Promise<void>((resolve) => this.#state.waiting.add(resolve))
    }
  }

  /**
   * Puts a handler in front of the servers. The newest that matches is asked first; its `next()` asks
   * the one before, and in the end the honest server.
   *
   * @param options.times - Answer so many requests, then step aside. `assertClean` complains if there was none.
   */
  on(match: RequestMatch, handler: Handler, options: { times?: number } = {}): Fault {
    return this.#state.rules.add(match, handler, options.times)
  }

  /** `assertClean` fails unless such a request came (exactly `times`, if given). */
  expect(match: RequestMatch, options: { times?: number } = {}): void {
    this.#state.expectations.push({ match, times: options.times })
  }

  /** Violations whose text contains this are expected in this test. */
  tolerate(violation: string | RegExp): void {
    this.#state.tolerated.push(violation)
  }

  /** What the client has done that no client may do. */
  violations(): string[] {
    const { invariants, servers, tolerated } = this.#state
    const all = [...invariants.found, ...strayCanaries(this.log, servers.world.canaries, servers.belongsTo)]
    const isKnown = (text: string): boolean =>
      tolerated.some((known) => (typeof known === 'string' ? text.includes(known) : known.test(text)))
    return all.filter((text) => !isKnown(text))
  }

  /** Throws unless the client kept every rule and everything expected came. */
  assertClean(options: { maxRequests?: number } = {}): void {
    const problems = this.violations()
    for (const { match, times } of this.#state.expectations) {
      const count = this.count(match)
      if (times === undefined ? count === 0 : count !== times) {
        problems.push(`expected ${times ?? 'a'} request(s) ${describeMatch(match)}, came ${count}`)
      }
    }
    for (const fault of this.#state.rules.unused()) problems.push(`a fault was never used: ${fault}`)
    if (options.maxRequests !== undefined && this.log.length > options.maxRequests) {
      problems.push(`INV10: ${this.log.length} requests, at most ${options.maxRequests} allowed`)
    }
    if (problems.length === 0) return
    throw new Error(`The network saw:\n- ${problems.join('\n- ')}\nin\n${this.transcript()}`)
  }

  /** One line per request, for reading. */
  transcript(): string {
    const lines = this.log.map((request) => {
      const grant = request.grantType ? ` ${request.grantType}` : ''
      return `${describeRequest(request)}${grant} → ${request.response?.status ?? request.outcome}`
    })
    return lines.join('\n')
  }

  /** INV6: throws if a token, code, verifier or proof is anywhere inside `value`, hidden properties and causes included. */
  assertNoSecrets(value: unknown, label = 'the value'): void {
    const found = findSecrets(value, this.secrets())
    if (found.length > 0) throw new Error(`INV6: ${label} holds ${found.join(', ')}`)
  }

  /** Every secret the network knows of, by what it is. */
  secrets(): Map<string, string> {
    const { canaries } = this.#state.servers.world
    const secrets = new Map<string, string>(canaries.map(({ value, kind }) => [value, kind]))
    for (const { proof, form } of this.log) {
      if (proof) secrets.set(proof.jwt, 'proof')
      if (form.code_verifier) secrets.set(form.code_verifier, 'verifier')
    }
    return secrets
  }

  /**
   * Plays the person at the authorization server.
   *
   * @returns The callback URL, in the response mode asked for.
   * @throws If the URL carries anything but `client_id` and `request_uri`, or the page would show an error.
   */
  approve(url: string | URL, options: ApproveOptions = {}): string {
    const target = new URL(url)
    this.#state.navigations.push(target.href)
    const { servers } = this.#state
    const server = servers.authorizationServer(servers.roleOf(target))
    if (!server || target.pathname !== '/oauth/authorize') {
      throw new Error(`There is no authorization page at ${target.origin}${target.pathname}`)
    }
    return server.approve(target, options)
  }

  /** Lets another origin be answered by a role, for instance endpoints away from the issuer. Paths stay. */
  alias(origin: string, role: Role): void {
    this.#state.servers.alias(origin, role)
  }

  /** A request of somebody else than the client: straight to the honest server, not logged, not judged. */
  deliver(url: string, init?: RequestInit): Promise<Response> {
    const { servers } = this.#state
    const send = createFetch({
      now: this.clock.now,
      roleOf: (target) => servers.roleOf(target),
      arrived: () => {},
      answer: (request) => servers.answer(request),
      settled: () => {},
    })
    return send(url, init)
  }

  /** Puts the servers' clocks ahead of the client's (behind it, if negative). */
  clockSkew(ms: number): void {
    this.#state.servers.skew = ms
  }

  /** Adds an account and publishes its handle. */
  addAccount(account: FakeAccount): void {
    const { world, identity } = this.#state.servers
    world.accounts.push({ ...account })
    identity.publish(account)
  }

  /** The account's DID document names another server from now on; the old one refuses its tokens. */
  moveAccount(did: string, pds: string): void {
    const account = this.#state.servers.world.accounts.find((known) => known.did === did)
    if (!account) throw new Error(`No account ${did}`)
    account.pds = pds
  }

  /** Every session there ever was, as the authorization servers know them. */
  sessions(did?: string): readonly FakeSession[] {
    return this.#state.servers.world.sessions.filter((session) => did === undefined || session.did === did)
  }

  sessionAlive(did: string): boolean {
    return this.sessions(did).some(({ alive }) => alive)
  }

  /** The person ends the session elsewhere. */
  revokeSession(did: string): void {
    for (const session of this.sessions(did).filter(({ alive }) => alive)) {
      session.alive = false
      session.endedBy = 'test'
    }
  }

  /** The current access token is refused from now on; the refresh token still works. */
  expireAccessToken(did: string): void {
    for (const session of this.sessions(did)) session.accessExpiresAt = 0
  }

  expireRefreshToken(did: string): void {
    for (const session of this.sessions(did)) session.refreshExpiresAt = 0
  }

  async #arrived(request: FakeRequest): Promise<void> {
    const { log, invariants } = this.#state
    request.id = log.push(request) - 1
    if (request.role === 'unknown' && !request.path.startsWith('/.well-known/')) {
      invariants.report(`${describeRequest(request)}: no such host, and nobody named it`)
    }
    await invariants.check(request)
  }

  async #answer(request: FakeRequest): Promise<Response> {
    const { rules, servers, invariants } = this.#state
    try {
      return await rules.answer(request, () => servers.answer(request))
    } catch (error) {
      const isNetworkFailure = error instanceof TypeError && error.message === 'Failed to fetch'
      if (!isNetworkFailure) invariants.report(`${describeRequest(request)}: a handler threw ${error}`)
      throw error
    }
  }

  #settled(request: FakeRequest): void {
    const { invariants, waiting } = this.#state
    if (request.outcome === 'answered') invariants.noteAnswer(request)
    for (const wake of waiting) wake()
    waiting.clear()
  }

  #begin(): State {
    const invariants = new Invariants()
    return {
      servers: new Servers(this.#options, this.clock, invariants.report),
      rules: new Rules(),
      invariants,
      log: [],
      navigations: [],
      expectations: [],
      tolerated: [],
      waiting: new Set(),
    }
  }
}

export function createFakeNetwork(options: FakeNetworkOptions = {}): FakeNetwork {
  return new FakeNetwork(options)
}
