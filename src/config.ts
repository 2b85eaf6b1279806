import { type Fetch, given, parsePartyUrl } from './http.ts'
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
  /** `web` or `native`; any string, so that a JSON module can be given. */
  application_type?: string
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
  /** Resolves to a DID, or to `undefined` or `null` when it does not know the handle. */
  | ((handle: string, options: { signal: AbortSignal }) => Promise<string | null | undefined>)

export interface OAuthClientOptions {
  /**
   * The client metadata document, or the https URL it is served from (fetched beside the first sign-in). Left out: a
   * loopback client for development on `http://127.0.0.1`, which needs no document.
   */
  clientMetadata?: OAuthClientMetadata | string | undefined
  /**
   * Where the authorization server sends the person back to; one of the document's `redirect_uris`.
   * Default: the one that is this page, else the first. For a loopback client: this page.
   */
  redirectUri?: string | undefined
  /**
   * How handles are resolved: asked in this order, the next one when one fails or takes longer than half a second.
   * No other party learns a handle. Default: `{ type: 'well-known' }` alone, which names no third party but does not
   * find handles that are set up in DNS only.
   */
  handleResolver?: HandleResolver | readonly HandleResolver[] | undefined
  /** Scope asked for when `signIn()` names none. Default `atproto`: identity only. A loopback client declares it too. */
  scope?: string | undefined
  /** Directory of `did:plc` documents. Default `https://plc.directory`. */
  plcDirectory?: string | undefined
  /** Default: the platform's, as it is when the client is created. */
  fetch?: typeof globalThis.fetch | undefined
  /**
   * `memory` keeps nothing over a page load: only `authorize()` and `handleCallback()` on one page sign in there.
   * Default `auto`: IndexedDB, or memory where that does not work.
   */
  storage?: 'auto' | 'memory' | undefined
  /**
   * Separates clients of one origin from each other. Default `default`; the database is `signet:<namespace>`. Clients of
   * one page need a `redirectUri` each as well, or the first takes the answers to the others' sign-ins.
   */
  namespace?: string | undefined
  /** Lets plain http, local hosts and `.test` handles through. Development and tests only. Default `false`. */
  allowHttp?: boolean | undefined
  /** Clock, milliseconds since the epoch. Default `Date.now`. */
  now?: (() => number) | undefined
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

const LOOPBACK_REDIRECT = /^http:\/\/(127\.0\.0\.1|\[::1\])(:\d+)?(\/|$)/
const LOOPBACK_PORT = /(?<=^http:\/\/[^/]+):\d+(?=\/|$)/
/** RFC 6749 §3.3: printable ASCII words but for `"` and `\`, one space between them. */
const SCOPE = /^[!#-[\]-~]+( [!#-[\]-~]+)*$/

/** @throws {TypeError} For options that cannot work, saying how to mend each. */
export function createConfig(options: OAuthClientOptions): Config {
  const {
    clientMetadata,
    redirectUri,
    scope = 'atproto',
    allowHttp = false,
    handleResolver = { type: 'well-known' },
    plcDirectory = 'https://plc.directory',
    fetch = globalThis.fetch,
    storage = 'auto',
    namespace = 'default',
    now = Date.now,
    ...unknown
  } = given(options)
  const handleResolvers = [handleResolver]
    .flat()
    .map((resolver) =>
      typeof resolver === 'string' ? { type: 'xrpc' as const, service: resolver } : resolver,
    )
  const issues = checkScope(scope)
  for (const name of Object.keys(unknown)) issues.push(`${name} is not an option`)
  for (const value of [fetch, now])
    if (typeof value !== 'function') issues.push('fetch and now must be functions')
  if (!['auto', 'memory'].includes(storage)) issues.push('storage must be auto or memory')
  if (!handleResolvers.length)
    issues.push('handleResolver must name one; async () => undefined looks nothing up')
  const services = handleResolvers.flatMap((resolver) => {
    if (typeof resolver === 'function' || resolver.type === 'well-known') return []
    return resolver.type === 'xrpc' ? resolver.service : resolver.url
  })
  for (const url of [plcDirectory, ...services]) {
    if (!parsePartyUrl(url, allowHttp))
      issues.push(`${url} must be an https URL; allowHttp lets local ones through`)
  }

  let metadata: OAuthClientMetadata | undefined
  if (typeof clientMetadata === 'string') {
    issues.push(...checkClientId(clientMetadata))
  } else {
    metadata = clientMetadata ?? createLoopbackMetadata(scope, redirectUri, issues)
    if (clientMetadata) issues.push(...checkClientMetadata(metadata, allowHttp))
    if (!issues.length) issues.push(...findUndeclared(scope, metadata))
  }
  if (issues.length) throw new TypeError(`createOAuthClient: ${issues.join('; ')}`)

  return {
    clientId: metadata?.client_id ?? String(clientMetadata),
    clientMetadata: metadata,
    redirectUri: metadata ? chooseRedirectUri(metadata, redirectUri) : redirectUri,
    scope,
    handleResolvers,
    plcDirectory: plcDirectory.replace(/\/+$/, ''),
    // Browsers insist on their own `this`.
    fetch: (url, init) => fetch.call(globalThis, url, init),
    storage,
    name: `signet:${namespace}`,
    allowHttp,
    now,
  }
}

/** Everything in a client metadata document that a server would refuse it for, each with its remedy. */
export function checkClientMetadata(metadata: OAuthClientMetadata, allowHttp: boolean): string[] {
  const {
    client_id: clientId,
    redirect_uris: uris,
    grant_types: grants,
    response_types: responses,
  } = metadata
  if (![uris, grants, responses].every(Array.isArray)) {
    return ['redirect_uris, grant_types and response_types must be lists']
  }
  const issues = checkScope(metadata.scope)
  const demand = (met: unknown, what: string) => {
    if (!met) issues.push(what)
  }
  demand(uris.length, 'redirect_uris must name a URL')
  if (isLoopbackClientId(clientId)) {
    demand(
      isLoopbackQuery(clientId),
      'a loopback client_id may have one scope and redirect_uris, nothing else',
    )
    demand(
      uris.every((uri) => LOOPBACK_REDIRECT.test(uri)),
      'redirect_uris must be on http://127.0.0.1 or http://[::1]',
    )
  } else {
    issues.push(
      ...checkClientId(clientId),
      ...uris.flatMap((uri) => checkRedirectUri(uri, metadata, allowHttp)),
    )
    const parent = `${metadata.client_uri ?? ''}`.replace(/\/?$/, '/')
    demand(parent === '/' || `${clientId}`.startsWith(parent), 'client_uri must be a parent of client_id')
  }
  const grantsCode = grants.includes('authorization_code')
  demand(grantsCode, 'grant_types must include authorization_code, and refresh_token to stay signed in')
  demand(responses.includes('code'), 'response_types must include code')
  demand(metadata.dpop_bound_access_tokens === true, 'dpop_bound_access_tokens must be true')
  const secret = Object.keys(metadata).some((name) => name.startsWith('client_secret'))
  const isPublic = metadata.token_endpoint_auth_method === 'none' && !secret
  demand(
    isPublic,
    'token_endpoint_auth_method must be "none", without client_secret: a browser keeps no secret',
  )
  for (const name of ['client_uri', 'logo_uri', 'tos_uri', 'policy_uri']) {
    const fits = metadata[name] === undefined || parsePartyUrl(metadata[name], allowHttp)
    demand(fits, `${name} must be an https URL`)
  }
  return issues
}

/** What is wrong with asking for a scope: servers hold it against the declared one letter by letter. */
export function findUndeclared(scope: string, { scope: declared }: OAuthClientMetadata): string[] {
  const values = declared.split(' ')
  return scope
    .split(' ')
    .flatMap((value) =>
      values.includes(value)
        ? []
        : [
            `scope ${value} is not declared: add it to clientMetadata, or to the client's scope where there is none`,
          ],
    )
}

export function checkScope(scope: unknown): string[] {
  const values = typeof scope === 'string' && SCOPE.test(scope) ? scope.split(' ') : []
  const fits =
    values.includes('atproto') && !values.includes('openid') && new Set(values).size === values.length
  return fits
    ? []
    : [
        `scope must be different words, one space between them, with "atproto" and without "openid", not ${JSON.stringify(scope)}`,
      ]
}

/** The redirect URI of this page, if the document has it; else the first. */
export function chooseRedirectUri(metadata: OAuthClientMetadata, wanted: string | undefined): string {
  const { redirect_uris: uris, client_id: clientId } = metadata
  const declared = (uri: string) => (isLoopbackClientId(clientId) ? uri.replace(LOOPBACK_PORT, '') : uri)
  const page = currentUrl()
  const found = wanted
    ? uris.some((uri) => declared(uri) === declared(wanted)) && wanted
    : page && uris.find((uri) => isSamePage(uri, page))
  if (wanted && !found) throw new TypeError(`redirectUri ${wanted} must be one of redirect_uris`)
  return found || (uris[0] ?? '')
}

/** Whether a URL is that page: same origin and path. */
export function isSamePage(uri: string, page: URL): boolean {
  const { origin, pathname } = new URL(uri)
  return origin === page.origin && pathname === page.pathname
}

export function isLoopbackClientId(clientId: unknown): boolean {
  return /^http:\/\/localhost\/?(\?|$)/.test(String(clientId))
}

function isLoopbackQuery(clientId: string): boolean {
  const { searchParams } = new URL(clientId)
  const names = [...searchParams.keys()]
  return (
    !clientId.includes('#') &&
    names.every((name) => name === 'scope' || name === 'redirect_uri') &&
    searchParams.getAll('scope').length < 2
  )
}

/**
 * The document a server makes up for a loopback client (atproto OAuth, "Localhost Client Development"). The port is left
 * out of what is declared: only then is it ignored.
 */
function createLoopbackMetadata(
  scope: string,
  redirectUri: string | undefined,
  issues: string[],
): OAuthClientMetadata {
  const page = currentUrl()
  const here = page ? page.origin.replace('//localhost', '//127.0.0.1') + page.pathname : 'http://127.0.0.1/'
  const uri = redirectUri ?? here
  if (!LOOPBACK_REDIRECT.test(uri))
    issues.push(`without clientMetadata the page must be on http://127.0.0.1, not ${uri}`)
  const query = new URLSearchParams({ redirect_uri: uri.replace(LOOPBACK_PORT, '') })
  if (scope !== 'atproto') query.set('scope', scope)
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

function checkClientId(clientId: unknown): string[] {
  const text = String(clientId)
  const { protocol, port, username, password, pathname, href } = new URL(
    URL.canParse(text) ? text : 'about:/',
  )
  const named = !(port || username || password || text.includes('#') || pathname.endsWith('/'))
  if (protocol === 'https:' && named && href === clientId) return []
  return [
    `client_id must be the document's https URL, like https://app.example/oauth-client-metadata.json, not ${text}`,
  ]
}

function checkRedirectUri(
  uri: string,
  { application_type: type }: OAuthClientMetadata,
  allowHttp: boolean,
): string[] {
  const { protocol, username, password, hostname } = new URL(URL.canParse(uri) ? uri : 'about:/')
  if (type === 'native' && (LOOPBACK_REDIRECT.test(uri) || /^[^.]+\..+:$/.test(protocol))) return []
  const web =
    protocol === 'https:' &&
    !username &&
    !password &&
    !uri.includes('#') &&
    !/^https:\/\/[^/?]+:443(?!\d)/.test(uri)
  if (web && (allowHttp || !/(^|\.)(test|local|localhost|invalid|example)$/.test(hostname))) return []
  return [
    `redirect_uris: ${uri} must be https on a public name without credentials or port 443, or loopback for a native app`,
  ]
}
