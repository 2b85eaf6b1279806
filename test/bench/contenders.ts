import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../..', import.meta.url))

export interface Contender {
  name: ContenderName
  /** The npm package. */
  package: string
  /** What it keeps between page loads only to save requests, or to save the server's nonce. */
  caches: { database?: string; stores?: string[]; item?: string }
  /** Modules with all of it, with what a page needs that only restores a session, and one that makes a client. */
  entries: { whole: string; restore: string; server: string }
}

export const contenderNames = ['signet', 'reference', 'atcute'] as const
export type ContenderName = (typeof contenderNames)[number]

function importing(names: string[], from: string): string {
  const list = names.join(', ')
  return `import { ${list} } from ${JSON.stringify(from)}\nconsole.log(${list})\n`
}

const metadata = JSON.stringify({
  client_id: 'https://app.example.com/oauth-client-metadata.json',
  redirect_uris: ['https://app.example.com/'],
  scope: 'atproto',
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  token_endpoint_auth_method: 'none',
  application_type: 'web',
  dpop_bound_access_tokens: true,
})

const signetEverything = `import * as signet from ${JSON.stringify(`${root}/dist/index.js`)}\nconsole.log(signet)\n`
const referenceClient = importing(['BrowserOAuthClient'], '@atproto/oauth-client-browser')
const atcuteSession = ['configureOAuth', 'getSession', 'listStoredSessions', 'OAuthUserAgent']
const atcuteSignIn = ['createAuthorizationUrl', 'finalizeAuthorization']
const atcuteResolvers = [
  'CompositeDidDocumentResolver',
  'LocalActorResolver',
  'PlcDidDocumentResolver',
  'WebDidDocumentResolver',
  'XrpcHandleResolver',
]

export const contenders: readonly Contender[] = [
  {
    name: 'signet',
    package: 'atproto-signet',
    caches: { database: 'signet:default', stores: ['nonces'] },
    entries: {
      whole: signetEverything,
      restore: signetEverything,
      server: `import { createOAuthClient } from ${JSON.stringify(`${root}/dist/index.js`)}
createOAuthClient({ clientMetadata: ${metadata} }).getServerSnapshot()`,
    },
  },
  {
    name: 'reference',
    package: '@atproto/oauth-client-browser',
    caches: {
      database: '@atproto-oauth-client',
      stores: [
        'didCache',
        'dpopNonceCache',
        'handleCache',
        'authorizationServerMetadataCache',
        'protectedResourceMetadataCache',
      ],
    },
    entries: {
      whole: referenceClient,
      restore: referenceClient,
      server: `import { BrowserOAuthClient } from '@atproto/oauth-client-browser'
new BrowserOAuthClient({ clientMetadata: ${metadata}, handleResolver: 'https://resolver.example.com' })`,
    },
  },
  {
    name: 'atcute',
    package: '@atcute/oauth-browser-client',
    caches: { item: 'atcute-oauth:dpopNonces' },
    entries: {
      whole:
        importing([...atcuteSession, ...atcuteSignIn], '@atcute/oauth-browser-client') +
        // It leaves looking up identities to a package of its own.
        importing(atcuteResolvers, '@atcute/identity-resolver'),
      restore: importing(atcuteSession, '@atcute/oauth-browser-client'),
      server: `import { configureOAuth } from '@atcute/oauth-browser-client'
configureOAuth({ metadata: { client_id: 'https://app.example.com/', redirect_uri: 'https://app.example.com/' }, identityResolver: {} })`,
    },
  },
]

export function versionOf(name: string): string {
  const folder = name === 'atproto-signet' ? root : `${root}/node_modules/${name}`
  return JSON.parse(readFileSync(`${folder}/package.json`, 'utf8')).version
}
