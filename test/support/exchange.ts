import type { Role } from './hosts.ts'
import type { DecodedProof } from './proofs.ts'

/** One request as the network saw it, and what became of it. */
export interface FakeRequest {
  /** Position in `network.log`; -1 outside it. */
  id: number
  readonly role: Role
  readonly method: string
  readonly url: string
  readonly origin: string
  /** As sent, percent-encoding included. */
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: Headers
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly text: string
  /** Parameters of a form body; empty for any other body. */
  readonly form: Readonly<Record<string, string>>
  readonly grantType: string | undefined
  /** Decoded, not verified. */
  readonly proof: DecodedProof | undefined
  /** What follows `Authorization: DPoP`. */
  readonly accessToken: string | undefined
  readonly credentials: RequestCredentials
  readonly mode: RequestMode
  readonly redirect: RequestRedirect
  readonly cache: RequestCache
  readonly referrerPolicy: ReferrerPolicy
  readonly referrer: string
  readonly keepalive: boolean
  readonly signal: AbortSignal
  /** Client clock when it arrived, milliseconds. */
  readonly at: number
  /** `id` of the request whose redirect the "browser" followed to make this one. */
  readonly redirectedFrom: number | undefined
  outcome: 'open' | 'answered' | 'failed' | 'aborted'
  /** Status and headers handed to the client (before any redirect handling). */
  response: { status: number; headers: Headers } | undefined
  /** What the client has read of the body so far, at most 8 KiB. */
  responseText: string
  /** Body bytes the client has pulled so far. */
  bytesDelivered: number
  /** True once the client gave up on the body before its end. */
  bodyCancelled: boolean
}

export interface RequestMatch {
  role?: Role
  origin?: string
  /** Compared with the path as sent and with its percent-decoded form. */
  path?: string | RegExp
  method?: string
  grantType?: string
  where?: (request: FakeRequest) => boolean
}

export function matches(match: RequestMatch, request: FakeRequest): boolean {
  return (
    (match.role === undefined || match.role === request.role) &&
    (match.origin === undefined || match.origin === request.origin) &&
    (match.method === undefined || match.method === request.method) &&
    (match.grantType === undefined || match.grantType === request.grantType) &&
    (match.path === undefined || matchesPath(match.path, request.path)) &&
    (match.where === undefined || match.where(request))
  )
}

/** Whether the request was refused for its proof, before the server looked at anything else. */
export function wasProofRefused({ response, responseText }: FakeRequest): boolean {
  const challenge = response?.headers.get('www-authenticate') ?? ''
  const refused = response?.status === 400 || response?.status === 401
  return refused && /use_dpop_nonce|invalid_dpop_proof/.test(challenge + responseText)
}

export function describeMatch(match: RequestMatch): string {
  const parts = Object.entries(match).map(
    ([name, value]) => `${name}=${typeof value === 'function' ? '…' : value}`,
  )
  return parts.join(' ') || 'any request'
}

export function describeRequest(request: FakeRequest): string {
  return `#${request.id} ${request.method} ${request.origin}${request.path}`
}

function matchesPath(expected: string | RegExp, path: string): boolean {
  const decoded = decodePath(path)
  if (expected instanceof RegExp) return expected.test(path) || expected.test(decoded)
  return expected === path || expected === decoded
}

export function decodePath(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}

/** Ready-made matches for the requests every test talks about (at ALICE's servers). */
export const at = {
  par: { role: 'as', path: '/oauth/par' },
  token: { role: 'as', path: '/oauth/token' },
  exchange: { role: 'as', path: '/oauth/token', grantType: 'authorization_code' },
  refresh: { role: 'as', path: '/oauth/token', grantType: 'refresh_token' },
  revoke: { role: 'as', path: '/oauth/revoke' },
  resource: { role: 'pds', path: /^\/xrpc\// },
  resourceMetadata: { role: 'pds', path: '/.well-known/oauth-protected-resource' },
  issuerMetadata: { role: 'as', path: '/.well-known/oauth-authorization-server' },
  plc: { role: 'plc' },
  resolver: { role: 'xrpc' },
  doh: { role: 'doh' },
  wellKnown: { role: 'handle' },
  evil: { role: 'evil' },
} as const satisfies Record<string, RequestMatch>
