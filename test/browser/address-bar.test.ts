import { afterEach, expect, test } from 'vitest'
import { createOAuthClient, type OAuthClient } from '../../src/index.ts'

const address = location.href
const offline = () => Promise.reject(new TypeError('Failed to fetch'))
const answer = `state=${'a'.repeat(43)}&iss=${encodeURIComponent('https://as.signet.dev')}&code=CODE`

let client: OAuthClient | undefined
afterEach(() => {
  client?.close()
  history.replaceState(null, '', address)
})

test.each([
  ['fragment', `?x=1#${answer}`, '?x=1'],
  ['query', `?x=1&${answer}#y`, '?x=1#y'],
])(
  'is rid of an answer in the %s, and keeps what belongs to the app (CB-09, G17)',
  async (_place, url, rest) => {
    const entries = history.length
    history.replaceState({ of: 'the app' }, '', url)
    client = createOAuthClient({ storage: 'memory', fetch: offline })
    await expect(client.initialize()).rejects.toMatchObject({ code: 'authorization_unknown' })
    expect(location.search + location.hash).toBe(rest)
    expect(history.state).toEqual({ of: 'the app' })
    expect(history.length).toBe(entries)
  },
)
