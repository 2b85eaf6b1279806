import { BrowserOAuthClient, type OAuthSession } from '@atproto/oauth-client-browser'
import { clientId, pds, plc, present, redirectUri, scope } from './page.ts'

const client = new BrowserOAuthClient({
  clientMetadata: {
    client_id: clientId,
    scope,
    redirect_uris: [redirectUri as `http://127.0.0.1:${string}`],
    response_types: ['code'],
    grant_types: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_method: 'none',
    application_type: 'native',
    dpop_bound_access_tokens: true,
  },
  handleResolver: pds,
  plcDirectoryUrl: plc,
  allowHttp: true,
})
let current: OAuthSession | undefined

function session() {
  if (!current) throw new Error('Nobody is signed in')
  return current
}

present({
  authorize: async (handle) => (await client.authorize(handle)).href,
  async start() {
    current = (await client.init())?.session
    return current?.did
  },
  request: (path) => session().fetchHandler(path),
  refresh: () => session().getTokenInfo(true),
})
