import { createOAuthClient } from '../../../src/index.ts'
import { pds, plc, present, scope } from './page.ts'

const client = createOAuthClient({ scope, handleResolver: pds, plcDirectory: plc, allowHttp: true })

function session() {
  if (!client.session) throw new Error('Nobody is signed in')
  return client.session
}

present({
  authorize: async (handle) => (await client.authorize(handle)).url,
  start: async () => (await client.initialize())?.did,
  request: (path) => session().fetch(path),
  refresh: () => session().refresh(),
  prefetch: (handle) => client.prefetch(handle),
})
