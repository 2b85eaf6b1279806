import {
  CompositeDidDocumentResolver,
  LocalActorResolver,
  PlcDidDocumentResolver,
  WebDidDocumentResolver,
  XrpcHandleResolver,
} from '@atcute/identity-resolver'
import {
  configureOAuth,
  createAuthorizationUrl,
  finalizeAuthorization,
  getSession,
  listStoredSessions,
  OAuthUserAgent,
} from '@atcute/oauth-browser-client'
import { clientId, pds, plc, present, redirectUri, scope } from './page.ts'

configureOAuth({
  metadata: { client_id: clientId, redirect_uri: redirectUri },
  identityResolver: new LocalActorResolver({
    handleResolver: new XrpcHandleResolver({ serviceUrl: pds }),
    didDocumentResolver: new CompositeDidDocumentResolver({
      methods: { plc: new PlcDidDocumentResolver({ apiUrl: plc }), web: new WebDidDocumentResolver() },
    }),
  }),
})
let current: OAuthUserAgent | undefined

function agent() {
  if (!current) throw new Error('Nobody is signed in')
  return current
}

present({
  async authorize(handle) {
    const target = { type: 'account', identifier: handle as `${string}.${string}` } as const
    return (await createAuthorizationUrl({ target, scope })).href
  },
  async start() {
    const answer = new URLSearchParams(location.hash.slice(1))
    const [did] = listStoredSessions()
    if (answer.has('state')) {
      history.replaceState(null, '', location.pathname + location.search)
      current = new OAuthUserAgent((await finalizeAuthorization(answer)).session)
    } else if (did) {
      current = new OAuthUserAgent(await getSession(did, { allowStale: true }))
    }
    return current?.sub
  },
  request: (path) => agent().handle(path),
  refresh: () => agent().getSession({ noCache: true }),
})
