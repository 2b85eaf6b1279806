import type { AuthorizationServer } from './authorization-server.ts'
import { randomToken } from './keys.ts'

export interface ApproveOptions {
  /** DID of who signs in. Default: whom `login_hint` names, else the first account of the server. */
  as?: string
  /** Refuse instead; `true` is `access_denied`. */
  deny?: boolean | string | { error: string; description?: string }
  /** Scope granted. Default: the one asked for. */
  scope?: string
  /** Query parameters the authorization endpoint had in the metadata. */
  presets?: Record<string, string>
}

/** A pushed request, and the grant once somebody approved it. */
export interface AuthorizationRequest {
  readonly clientId: string
  readonly grantsRefresh: boolean
  readonly redirectUri: string
  readonly responseMode: string
  readonly scope: string
  readonly state: string
  readonly challenge: string
  readonly jkt: string | undefined
  readonly loginHint: string | undefined
  readonly parameters: Readonly<Record<string, string>>
  expiresAt: number
  used: boolean
  grant: AuthorizationGrant | undefined
}

export interface AuthorizationGrant {
  readonly code: string
  readonly did: string
  readonly scope: string
  readonly expiresAt: number
  spent: boolean
}

/** Where the authorization page sends the browser. */
export function redirectToClient(server: AuthorizationServer, url: URL, options: ApproveOptions): string {
  const { request } = openPage(server, url, options)
  const answer = decide(server, request, options)
  const parameters = new URLSearchParams({ iss: server.issuer, state: request.state, ...answer })
  const target = new URL(request.redirectUri)
  if (request.responseMode === 'fragment') {
    target.hash = parameters.toString()
  } else {
    for (const [name, value] of parameters) target.searchParams.append(name, value)
  }
  return target.href
}

function openPage(
  server: AuthorizationServer,
  url: URL,
  options: ApproveOptions,
): { request: AuthorizationRequest } {
  const expected = { ...options.presets, client_id: null, request_uri: null }
  for (const [name, value] of url.searchParams) {
    const allowed = name in expected && [null, value].includes(expected[name as keyof typeof expected])
    if (!allowed) throw new Error(`The authorization URL has the parameter ${name}=${value} (PAR-01, PAR-04)`)
  }
  for (const name of Object.keys(expected)) {
    if (url.searchParams.getAll(name).length !== 1) {
      throw new Error(`The authorization URL must have ${name} exactly once (PAR-04)`)
    }
  }
  if (url.hash !== '' || url.username !== '')
    throw new Error('The authorization URL has a fragment or userinfo')
  const request = server.requests.get(url.searchParams.get('request_uri') ?? '')
  if (!request) throw new Error('The authorization page shows an error: unknown request_uri')
  if (request.clientId !== url.searchParams.get('client_id')) {
    throw new Error('The authorization page shows an error: request_uri belongs to another client')
  }
  return { request }
}

function decide(
  server: AuthorizationServer,
  request: AuthorizationRequest,
  options: ApproveOptions,
): Record<string, string> {
  const { world } = server
  const denied = (error: string, description: string): Record<string, string> => ({
    error,
    error_description: description,
  })
  if (request.used) return denied('access_denied', 'This request was already authorized')
  if (request.expiresAt < world.serverNow()) return denied('access_denied', 'This request has expired')
  request.used = true
  if (options.deny) {
    if (options.deny === true) return denied('access_denied', 'The user rejected the request')
    if (typeof options.deny === 'string') return { error: options.deny }
    return denied(options.deny.error, options.deny.description ?? '')
  }
  const hint = request.loginHint
  const hosted = server.metadata().protected_resources as readonly string[]
  const account = world.accounts.find(({ did, handle, pds }) =>
    hint === undefined ? hosted.includes(pds) : did === hint || handle === hint,
  )
  const did = options.as ?? account?.did
  if (did === undefined) throw new Error(`Nobody at ${server.issuer} is called ${hint}`)
  const code = randomToken('CODE')
  const pds = world.accounts.find((known) => known.did === did)?.pds ?? ''
  world.canaries.push({ value: code, kind: 'code', issuer: server.issuer, pds })
  request.grant = {
    code,
    did,
    scope: options.scope ?? request.scope,
    expiresAt: world.serverNow() + 300_000,
    spent: false,
  }
  return { code }
}
