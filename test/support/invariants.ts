import { describeRequest, type FakeRequest, wasProofRefused } from './exchange.ts'
import { proofDefects } from './proofs.ts'
import type { Canary } from './world.ts'

const FORBIDDEN_HEADERS =
  /^(cookie2?|host|origin|referer|connection|keep-alive|te|trailer|upgrade|via|date|expect)$|^(proxy|sec)-/
/** All a preflight of the reference authorization server lets through, and what needs none (PAR-10). */
const AUTHORIZATION_SERVER_HEADERS = ['accept', 'accept-language', 'content-language', 'content-type', 'dpop']

/** What the network has learned so far about the client's behaviour. */
export class Invariants {
  readonly found: string[] = []
  /** Nonces handed to the client, by origin. */
  readonly #nonces = new Map<string, Set<string>>()
  readonly #jtis = new Set<string>()
  readonly #pushed: FakeRequest[] = []

  readonly report = (text: string): void => {
    this.found.push(text)
  }

  noteAnswer(request: FakeRequest): void {
    const nonce = request.response?.headers.get('dpop-nonce')
    if (!nonce) return
    const known = this.#nonces.get(request.origin) ?? new Set()
    this.#nonces.set(request.origin, known.add(nonce))
  }

  /** Checks what one request shows by itself. Redirects the "browser" followed are the network's own. */
  async check(request: FakeRequest): Promise<void> {
    const fail = (id: string, text: string): void => this.report(`${id}: ${describeRequest(request)} ${text}`)
    if (request.redirectedFrom !== undefined) return
    this.#checkTransport(request, fail)
    this.#checkHeaders(request, fail)
    await this.#checkProof(request, fail)
    if (request.path === '/oauth/par') this.#checkPushed(request, fail)
  }

  #checkTransport(request: FakeRequest, fail: Fail): void {
    if (request.credentials !== 'omit') fail('INV5', `has credentials=${request.credentials}`)
    if (request.referrerPolicy !== 'no-referrer' && request.referrer !== '')
      fail('INV5', 'may send a Referer')
    const mayFollow = request.path === '/.well-known/atproto-did' && request.redirect === 'follow'
    if (request.redirect !== 'manual' && !mayFollow) fail('INV5', `has redirect=${request.redirect}`)
    const url = new URL(request.url)
    const loopback = ['127.0.0.1', '[::1]', 'localhost'].includes(url.hostname)
    if (url.protocol !== 'https:' && !loopback) fail('R14', 'is not https')
    if (url.username !== '' || url.password !== '') fail('R14', 'has userinfo')
  }

  #checkHeaders(request: FakeRequest, fail: Fail): void {
    for (const name of request.headers.keys()) {
      if (FORBIDDEN_HEADERS.test(name)) fail('R4', `sends the header ${name}`)
      if (request.path.startsWith('/oauth/') && !AUTHORIZATION_SERVER_HEADERS.includes(name)) {
        fail('PAR-10', `sends the header ${name}`)
      }
      if (request.path.startsWith('/.well-known/') && name !== 'accept') {
        fail('PRM-06', `sends the header ${name}, which needs a preflight`)
      }
    }
    const authorization = request.headers.get('authorization')
    if (authorization?.startsWith('DPoP ') && !request.headers.has('dpop')) fail('RS-01', 'has no proof')
    if (request.path.startsWith('/oauth/') && 'client_secret' in request.form)
      fail('CMETA-12', 'sends a secret')
  }

  async #checkProof(request: FakeRequest, fail: Fail): Promise<void> {
    if (!request.headers.has('dpop')) return
    const { proof } = request
    if (!proof) return fail('INV4', 'has a DPoP header that is not one JWT')
    const target = {
      method: request.method,
      target: request.origin + request.path,
      accessToken: request.accessToken,
    }
    for (const defect of await proofDefects(proof, target)) fail('INV4', `has a bad proof: ${defect}`)
    const { jti, nonce } = proof.payload
    if (this.#jtis.has(String(jti))) fail('INV4', 'reuses a jti')
    this.#jtis.add(String(jti))
    if (nonce !== undefined && !this.#nonces.get(request.origin)?.has(String(nonce))) {
      fail('INV4', 'has a nonce this origin never gave')
    }
  }

  /** `state`, challenge and key belong together: a new flow has three new ones. */
  #checkPushed(request: FakeRequest, fail: Fail): void {
    const key = (pushed: FakeRequest): string | undefined => pushed.proof?.jkt ?? pushed.form.dpop_jkt
    for (const earlier of this.#pushed) {
      const same = {
        'REQ-04 state': earlier.form.state === request.form.state,
        'PKCE-03 challenge': earlier.form.code_challenge === request.form.code_challenge,
        'DPOP-20 key': key(earlier) === key(request),
      }
      const kept = Object.entries(same).filter(([, equal]) => equal)
      if (kept.length > 0 && kept.length < 3)
        fail(kept.map(([name]) => name).join(), 'is that of another flow')
    }
    this.#pushed.push(request)
  }
}

type Fail = (id: string, text: string) => void

/** INV1–INV3, INV8: where secrets went, seen over the whole log. */
export function strayCanaries(
  log: readonly FakeRequest[],
  canaries: readonly Canary[],
  isServer: IsServer,
): string[] {
  const stray: string[] = []
  for (const canary of [...canaries, ...verifiers(log, canaries)]) {
    const carriers = log.filter((request) => carries(request, canary.value))
    for (const request of carriers) {
      if (!mayCarry(request, canary, isServer))
        stray.push(`${rule(canary)}: ${canary.kind} in ${describeRequest(request)}`)
    }
    if (canary.kind !== 'code') continue
    // A refused proof burns no code: one repeat for a nonce and one for a wrong clock are fair.
    const sent = carriers.filter((request) => !wasProofRefused(request))
    if (sent.length > 1 || carriers.length > 3)
      stray.push(`INV8: code sent ${carriers.length} times: ${carriers.map(describeRequest).join(', ')}`)
  }
  return stray
}

/** Whether an origin is one of the authorization server's. */
export type IsServer = (issuer: string, request: FakeRequest) => boolean

function rule({ kind }: Canary): string {
  return { 'access token': 'INV1', 'refresh token': 'INV2', code: 'INV3', verifier: 'INV3' }[kind]
}

function mayCarry(request: FakeRequest, { kind, value, issuer, pds }: Canary, isServer: IsServer): boolean {
  const elsewhere = (allowed: string): boolean =>
    request.url.includes(value) ||
    [...request.headers].some(([, header]) => header.includes(value) && header !== allowed)
  if (kind === 'access token' && request.accessToken === value) {
    return request.origin === pds && !elsewhere(`DPoP ${value}`) && !request.text.includes(value)
  }
  if (request.method !== 'POST' || elsewhere('') || !isServer(issuer, request)) return false
  const { form, path } = request
  const fields = Object.keys(form).filter((name) => form[name]?.includes(value))
  const only = (name: string, field: string): boolean => path === name && fields.join() === field
  switch (kind) {
    case 'access token':
      return only('/oauth/revoke', 'token')
    case 'refresh token':
      return only('/oauth/token', 'refresh_token') || only('/oauth/revoke', 'token')
    case 'code':
      return only('/oauth/token', 'code')
    case 'verifier':
      return only('/oauth/token', 'code_verifier')
  }
}

/** Verifiers are the client's own; they become known when they are sent with a code. */
function verifiers(log: readonly FakeRequest[], canaries: readonly Canary[]): Canary[] {
  const sent = new Map<string, Canary>()
  for (const { form } of log) {
    const code = canaries.find(({ kind, value }) => kind === 'code' && value === form.code)
    if (code && form.code_verifier)
      sent.set(form.code_verifier, { ...code, kind: 'verifier', value: form.code_verifier })
  }
  return [...sent.values()]
}

function carries(request: FakeRequest, value: string): boolean {
  return (
    request.url.includes(value) ||
    request.text.includes(value) ||
    [...request.headers].some(([, header]) => header.includes(value))
  )
}
