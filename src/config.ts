import type { Fetch } from './http.ts'
import { parsePartyUrl } from './http.ts'
import { currentUrl } from './navigation.ts'

/** The client metadata document (RFC 7591, atproto profile). Members not listed here may stand in it too. */
export interface OAuthClientMetadata {
  /** The https URL this document is served from. */
  client_id: string
  redirect_uris: readonly string[]
  /** Every scope the app might ever ask for, `atproto` among them. */
  scope: string
  grant_types: readonly string[]
  response_types: readonly string[]
  /** `none`: a browser app keeps no secret. The reference server refuses a document without this member. */
  token_endpoint_auth_method: string
  dpop_bound_access_tokens: boolean
  application_type?: 'web' | 'native'
  client_name?: string
  client_uri?: string
  logo_uri?: string
  tos_uri?: string
  policy_uri?: string
  [member: string]: unknown
}

/**
 * One way from a handle to its DID. A string is the URL of an XRPC service, which learns every handle looked up there;
 * so does a DNS-over-HTTPS service. `well-known` asks the handle's own host, which must allow cross-origin reads.
 */
export type HandleResolver =
  | string
  | { type: 'xrpc'; service: string }
  /** `url` answers DNS-over-HTTPS in JSON, e.g. `https://cloudflare-dns.com/dns-query`. */
  | { type: 'dns'; url: string }
  | { type: 'well-known' }
  /** Resolves to a DID, or to `undefined` when it does not know the handle. */
  | ((handle: string, options: { signal: AbortSignal }) => Promise<string | undefined>)

export interface OAuthClientOptions {
  /**
   * The client metadata document, or the https URL it is served from (fetched beside the first sign-in). Left out: a
   * loopback client for development on `http://127.0.0.1`, which needs no document.
   */
  clientMetadata?: OAuthClientMetadata | string
  /**
   * Where the authorization server sends the person back to; one of the document's `redirect_uris`.
   * Default: the one that is this page, else the first. For a loopback client: this page.
   */
  redirectUri?: string
  /**
   * How handles are resolved: asked in this order, the next one when one fails or takes longer than half a second.
   * No other party learns a handle. Default: `{ type: 'well-known' }` alone, which names no third party but does not
   * find handles that are set up in DNS only.
   */
  handleResolver?: HandleResolver | readonly HandleResolver[]
  /** Scope asked for when `signIn()` names none. Default `atproto`: identity only. A loopback client declares it too. */
  scope?: string
  /** Directory of `did:plc` documents. Default `https://plc.directory`. */
  plcDirectory?: string
  /** Default: the platform's, as it is when the client is created. */
  fetch?: typeof globalThis.fetch
  /** `memory` keeps nothing over a page load. Default `auto`: IndexedDB, or memory where that does not work. */
  storage?: 'auto' | 'memory'
  /** Separates clients of one origin from each other. Default `default`; the database is `signet:<namespace>`. */
  namespace?: string
  /** Lets plain http, local hosts and `.test` handles through. Development and tests only. Default `false`. */
  allowHttp?: boolean
  /** Clock, milliseconds since the epoch. Default `Date.now`. */
  now?: () => number
}

/** {@link OAuthClientOptions} checked once, with its defaults. */
export interface Config {
  clientId: string
  /** `undefined` until the document at `clientId` has been fetched. */
  clientMetadata: OAuthClientMetadata | undefined
  redirectUri: string | undefined
  handleResolvers: ReadonlyArray<Exclude<HandleResolver, string>>
  scope: string
  plcDirectory: string
  fetch: Fetch
  storage: 'auto' | 'memory'
  name: string
  allowHttp: boolean
  now: () => number
}

const OPTIONS = [
  'clientMetadata',
  'redirectUri',
  'handleResolver',
  'scope',
  'plcDirectory',
  'fetch',
  'storage',
  'namespace',
  'allowHttp',
  'now',
]
const LOOPBACK_REDIRECT = /^http:\/\/(127\.0\.0\.1|\[::1\])(:\d+)?(\/|$)/
const UNUSABLE_REDIRECT_HOST = /\.(test|local|localhost|invalid|example)$/
/** RFC 6749 §3.3: printable ASCII words but for `"` and `\`, one space between them. */
const SCOPE = /^[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*$/

/** @throws {TypeError} For an option that cannot work, saying how to mend it. */
export function createConfig(options: OAuthClientOptions): Config {
  const unknown = Object.keys(options).filter((name) => !OPTIONS.includes(name))
  if (unknown.length) throw new TypeError(`Unknown option ${unknown.join(', ')}`)
  const {
    clientMetadata,
    redirectUri,
    scope = 'atproto',
    plcDirectory = 'https://plc.directory',
    handleResolver = { type: 'well-known' },
    allowHttp = false,
    namespace = 'default',
  } = options

  for (const url of [plcDirectory, ...[handleResolver].flat().flatMap(resolverUrl)]) {
    if (!parsePartyUrl(url, allowHttp)) {
      throw new TypeError(
        `${url} is not a public https URL${allowHttp ? '' : '; local servers need allowHttp: true'}`,
      )
    }
  }
  const scopeIssue = checkScope(scope)
  if (scopeIssue) throw new TypeError(`scope: ${scopeIssue}`)

  const fetch = options.fetch ?? globalThis.fetch
  const shared = {
    scope,
    plcDirectory: plcDirectory.replace(/\/+$/, ''),
    handleResolvers: [handleResolver]
      .flat()
      .map((resolver) =>
        typeof resolver === 'string' ? ({ type: 'xrpc', service: resolver } as const) : resolver,
      ),
    // Not called as a method of the configuration: browsers insist on their own `this`.
    fetch: (url: string, init: RequestInit) => fetch.call(globalThis, url, init),
    storage: options.storage ?? 'auto',
    name: `signet:${namespace}`,
    allowHttp,
    now: options.now ?? Date.now,
  }

  if (typeof clientMetadata === 'string') {
    const issue = checkClientId(clientMetadata)
    if (issue) throw new TypeError(`clientMetadata: ${issue}`)
    return { ...shared, clientId: clientMetadata, clientMetadata: undefined, redirectUri }
  }
  const metadata = clientMetadata ?? createLoopbackMetadata(scope, redirectUri)
  const issues = checkClientMetadata(metadata, allowHttp)
  if (issues.length) throw new TypeError(`clientMetadata: ${issues.join('; ')}`)
  const undeclared = findUndeclared(scope, metadata)
  if (undeclared.length)
    throw new TypeError(`scope: ${undeclared.join(' ')} is not declared in clientMetadata.scope`)
  return {
    ...shared,
    clientId: metadata.client_id,
    clientMetadata: metadata,
    redirectUri: chooseRedirectUri(metadata, redirectUri),
  }
}

/** Everything in a client metadata document that a server would refuse it for, each with its remedy. */
export function checkClientMetadata(metadata: OAuthClientMetadata, allowHttp: boolean): string[] {
  const loopback = isLoopbackClientId(metadata.client_id)
  const native = metadata.application_type === 'native'
  const uris = list(metadata.redirect_uris)
  const checks: Array<[failed: boolean | string | undefined, message: string]> = [
    [loopback ? '' : checkClientId(metadata.client_id), ''],
    [!uris.length, 'redirect_uris must name at least one URL'],
    ...uris.map((uri): [string | undefined, string] => [
      loopback ? '' : checkRedirectUri(uri, native, allowHttp),
      '',
    ]),
    [
      !list(metadata.grant_types).includes('authorization_code'),
      'grant_types must include "authorization_code" (and "refresh_token", or sessions end with their first token)',
    ],
    [!list(metadata.response_types).includes('code'), 'response_types must include "code"'],
    [metadata.dpop_bound_access_tokens !== true, 'dpop_bound_access_tokens must be true'],
    [
      metadata.token_endpoint_auth_method !== 'none',
      'token_endpoint_auth_method must be "none" for an app that runs in a browser',
    ],
    ['client_secret' in metadata, 'client_secret must not appear: a browser app cannot keep one'],
    [checkScope(metadata.scope), 'scope: '],
    ...(['logo_uri', 'tos_uri', 'policy_uri'] as const).map((name): [boolean, string] => [
      metadata[name] !== undefined && !parsePartyUrl(metadata[name], allowHttp),
      `${name} must be an https URL`,
    ]),
    [
      metadata.client_uri !== undefined && !loopback && !isParentUrl(metadata.client_uri, metadata.client_id),
      'client_uri must have the origin of client_id and be a parent of its path',
    ],
  ]
  return checks
    .filter(([failed]) => failed)
    .map(([failed, message]) => message + (typeof failed === 'string' ? failed : ''))
}

/** Scopes asked for that the document does not declare: servers compare them letter by letter. */
export function findUndeclared(scope: string, metadata: OAuthClientMetadata): string[] {
  const declared = metadata.scope.split(' ')
  return scope.split(' ').filter((value) => !declared.includes(value))
}

export function checkScope(scope: unknown): string | undefined {
  if (typeof scope !== 'string' || !SCOPE.test(scope)) return 'must be words with one space between them'
  const values = scope.split(' ')
  if (!values.includes('atproto')) return 'must include "atproto"'
  return new Set(values).size < values.length ? 'must not repeat a value' : undefined
}

/** The redirect URI of this page, if the document has it; else the first. */
export function chooseRedirectUri(metadata: OAuthClientMetadata, wanted: string | undefined): string {
  const uris = list(metadata.redirect_uris)
  const port = (uri: string) =>
    isLoopbackClientId(metadata.client_id) ? uri.replace(/:\d+(?=\/|$)/, '') : uri
  if (wanted !== undefined) {
    if (!uris.some((uri) => port(uri) === port(wanted)))
      throw new TypeError(`redirectUri ${wanted} is not among redirect_uris`)
    return wanted
  }
  const page = currentUrl()
  const here = page && uris.find((uri) => isSamePage(uri, page))
  return here ?? uris[0] ?? ''
}

/** Whether a URL is that page: same origin and path. */
export function isSamePage(uri: string, page: URL): boolean {
  const { origin, pathname } = new URL(uri)
  return origin === page.origin && pathname === page.pathname
}

export function isLoopbackClientId(clientId: unknown): boolean {
  return typeof clientId === 'string' && /^http:\/\/localhost(\/?(\?|$))/.test(clientId)
}

/**
 * The document a server makes up for a loopback client (atproto OAuth, "Localhost Client Development"). The port is left
 * out of what is declared: only then is it ignored.
 */
function createLoopbackMetadata(scope: string, redirectUri: string | undefined): OAuthClientMetadata {
  const page = currentUrl()
  if (page && !redirectUri && !/^(localhost|127\.0\.0\.1|\[::1\])$/.test(page.hostname)) {
    throw new TypeError(
      `clientMetadata is missing: without it only http://127.0.0.1 can be used, not ${page.origin}`,
    )
  }
  const uri =
    redirectUri ??
    (page ? page.origin.replace('//localhost', '//127.0.0.1') + page.pathname : 'http://127.0.0.1/')
  if (!LOOPBACK_REDIRECT.test(uri)) {
    throw new TypeError(
      `redirectUri of a loopback client must be http://127.0.0.1 or http://[::1], not ${uri}`,
    )
  }
  const declared = uri.replace(/:\d+(?=\/|$)/, '')
  const query = new URLSearchParams({ redirect_uri: declared, ...(scope !== 'atproto' && { scope }) })
  return {
    client_id: `http://localhost?${query}`,
    redirect_uris: [uri],
    scope,
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
    application_type: 'native',
    dpop_bound_access_tokens: true,
  }
}

function checkClientId(clientId: unknown): string | undefined {
  const url = typeof clientId === 'string' && URL.canParse(clientId) ? new URL(clientId) : undefined
  if (url?.protocol !== 'https:') return 'client_id must be the https URL the document is served from'
  if (url.port) return 'client_id must not have a port'
  if (url.username || url.password || url.href.includes('#'))
    return 'client_id must not have credentials or a fragment'
  if (url.pathname.endsWith('/'))
    return 'client_id must name a file, by convention /oauth-client-metadata.json'
  return url.href === clientId ? undefined : `client_id must be written as ${url.href}`
}

function checkRedirectUri(uri: string, native: boolean, allowHttp: boolean): string | undefined {
  if (!URL.canParse(uri)) return `redirect_uris: ${uri} is not a URL`
  const url = new URL(uri)
  if (
    native &&
    (LOOPBACK_REDIRECT.test(uri) || (!/^https?:$/.test(url.protocol) && url.protocol.includes('.')))
  )
    return undefined
  if (url.protocol !== 'https:') return `redirect_uris: ${uri} must be https, or application_type "native"`
  if (url.username || url.password || /:443(\/|$)/.test(uri))
    return `redirect_uris: ${uri} must not have credentials or port 443`
  return !allowHttp && UNUSABLE_REDIRECT_HOST.test(url.hostname)
    ? `redirect_uris: ${uri} is on a reserved name`
    : undefined
}

function isParentUrl(parent: unknown, child: string): boolean {
  const url = parsePartyUrl(parent, true)
  if (!url || !URL.canParse(child)) return false
  const { origin, pathname } = new URL(child)
  return url.origin === origin && pathname.startsWith(url.pathname.replace(/\/?$/, '/'))
}

function resolverUrl(resolver: HandleResolver): string[] {
  if (typeof resolver === 'string') return [resolver]
  if (typeof resolver === 'function' || resolver.type === 'well-known') return []
  return [resolver.type === 'dns' ? resolver.url : resolver.service]
}

function list(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : []
}
