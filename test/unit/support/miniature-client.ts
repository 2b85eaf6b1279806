import { randomBytes } from 'node:crypto'
import { CLIENT_ID, PLC, REDIRECT_URI, RESOLVER } from '../../support/hosts.ts'
import { generateDpopKey, type ProofOptions, sha256, signProof, thumbprint } from '../../support/keys.ts'
import {
  callbackParameters,
  createFakeNetwork,
  type FakeNetwork,
  type FakeNetworkOptions,
} from '../../support/network.ts'

const POLITE: RequestInit = { credentials: 'omit', referrerPolicy: 'no-referrer', redirect: 'manual' }

export interface Flow {
  key: CryptoKeyPair
  issuer: string
  pds: string
  verifier: string
  state: string
  url: string
  parameters: Record<string, string>
}

export interface Tokens {
  access_token: string
  refresh_token: string
  token_type: string
  scope: string
  expires_in: number
  sub: string
}

/** A client small enough to see that it is right, for testing the network itself. */
export class MiniatureClient {
  readonly network: FakeNetwork
  readonly nonces = new Map<string, string>()

  constructor(network: FakeNetwork) {
    this.network = network
  }

  async json(url: string): Promise<Record<string, unknown>> {
    const response = await this.network.fetch(url, { ...POLITE, headers: { accept: 'application/json' } })
    if (!response.ok) throw new Error(`${response.status} from ${url}`)
    return (await response.json()) as Record<string, unknown>
  }

  /** One request with a proof; no retry. */
  async send(
    key: CryptoKeyPair,
    url: string,
    init: RequestInit = {},
    proof: Partial<ProofOptions> | null = {},
  ): Promise<Response> {
    const { origin } = new URL(url)
    const method = init.method ?? 'GET'
    const headers = new Headers(init.headers)
    if (proof) {
      const options = { method, url, now: this.network.clock.now(), nonce: this.nonces.get(origin), ...proof }
      headers.set('dpop', await signProof(key, options))
    }
    const response = await this.network.fetch(url, { ...POLITE, ...init, headers })
    const nonce = response.headers.get('dpop-nonce')
    if (nonce) this.nonces.set(origin, nonce)
    return response
  }

  post(
    key: CryptoKeyPair,
    url: string,
    form: Record<string, string>,
    proof: Partial<ProofOptions> | null = {},
  ) {
    return this.send(key, url, { method: 'POST', body: new URLSearchParams(form) }, proof)
  }

  async discover(handle: string): Promise<{ did: string; pds: string; issuer: string }> {
    const { did } = await this.json(`${RESOLVER}/xrpc/com.atproto.identity.resolveHandle?handle=${handle}`)
    const document = (await this.json(`${PLC}/${did}`)) as { service: { serviceEndpoint: string }[] }
    const pds = String(document.service[0]?.serviceEndpoint)
    const resource = (await this.json(`${pds}/.well-known/oauth-protected-resource`)) as {
      authorization_servers: string[]
    }
    return { did: String(did), pds, issuer: String(resource.authorization_servers[0]) }
  }

  parameters(
    key: string,
    verifier: string,
    state: string,
    extra: Record<string, string> = {},
  ): Record<string, string> {
    return {
      client_id: CLIENT_ID,
      response_type: 'code',
      redirect_uri: REDIRECT_URI,
      scope: 'atproto transition:generic',
      state,
      code_challenge: sha256(verifier),
      code_challenge_method: 'S256',
      response_mode: 'fragment',
      dpop_jkt: key,
      ...extra,
    }
  }

  /** Handle to authorization URL. */
  async authorize(handle: string, extra: Record<string, string> = {}): Promise<Flow> {
    const { pds, issuer } = await this.discover(handle)
    const key = await generateDpopKey()
    const verifier = randomBytes(32).toString('base64url')
    const state = randomBytes(16).toString('base64url')
    const parameters = this.parameters(await thumbprint(key), verifier, state, {
      login_hint: handle,
      ...extra,
    })
    const response = await this.post(key, `${issuer}/oauth/par`, parameters, null)
    if (response.status !== 201) throw new Error(await response.text())
    const { request_uri } = (await response.json()) as { request_uri: string }
    const url = `${issuer}/oauth/authorize?${new URLSearchParams({ client_id: CLIENT_ID, request_uri })}`
    return { key, issuer, pds, verifier, state, url, parameters }
  }

  redeem(flow: Flow, callback: string, changes: Record<string, string> = {}): Promise<Response> {
    return this.post(flow.key, `${flow.issuer}/oauth/token`, {
      grant_type: 'authorization_code',
      code: callbackParameters(callback).get('code') ?? '',
      code_verifier: flow.verifier,
      redirect_uri: REDIRECT_URI,
      client_id: CLIENT_ID,
      ...changes,
    })
  }

  async signIn(handle: string): Promise<Flow & { tokens: Tokens }> {
    const flow = await this.authorize(handle)
    const response = await this.redeem(flow, this.network.approve(flow.url))
    if (!response.ok) throw new Error(await response.text())
    return { ...flow, tokens: (await response.json()) as Tokens }
  }

  refresh(flow: Flow, refreshToken: string, key: CryptoKeyPair = flow.key): Promise<Response> {
    return this.post(key, `${flow.issuer}/oauth/token`, {
      grant_type: 'refresh_token',
      refresh_token: refreshToken,
      client_id: CLIENT_ID,
    })
  }

  /** A resource request, repeated once if a nonce is asked for. */
  async call(flow: Flow, accessToken: string, path: string, init: RequestInit = {}): Promise<Response> {
    const authorized = { ...init, headers: { ...init.headers, authorization: `DPoP ${accessToken}` } }
    const attempt = () => this.send(flow.key, flow.pds + path, authorized, { accessToken })
    const response = await attempt()
    const challenge = response.headers.get('www-authenticate') ?? ''
    return response.status === 401 && challenge.includes('use_dpop_nonce') ? attempt() : response
  }
}

export function start(options: FakeNetworkOptions = {}): { network: FakeNetwork; client: MiniatureClient } {
  const network = createFakeNetwork(options)
  return { network, client: new MiniatureClient(network) }
}

export async function errorOf(response: Response): Promise<string> {
  return ((await response.json()) as { error: string }).error
}
