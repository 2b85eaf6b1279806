import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../..', import.meta.url))

export interface Contender {
  name: ContenderName
  /** The npm package. */
  package: string
  /** What it keeps between page loads only to save requests, or to save the server's nonce. */
  caches: { database?: string; stores?: string[]; item?: string }
  /** Modules with all of it, and with what a page needs that only restores a session. */
  entries: { whole: string; restore: string }
}

export const contenderNames = ['signet', 'reference', 'atcute'] as const
export type ContenderName = (typeof contenderNames)[number]

function importing(names: string[], from: string): string {
  const list = names.join(', ')
  return `import { ${list} } from ${JSON.stringify(from)}\nconsole.log(${list})\n`
}

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
    entries: { whole: signetEverything, restore: signetEverything },
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
    entries: { whole: referenceClient, restore: referenceClient },
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
    },
  },
]

export function versionOf(name: string): string {
  const folder = name === 'atproto-signet' ? root : `${root}/node_modules/${name}`
  return JSON.parse(readFileSync(`${folder}/package.json`, 'utf8')).version
}
