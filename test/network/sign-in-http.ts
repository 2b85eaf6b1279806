import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { text } from 'node:stream/consumers'
import type { SignInAnswers } from './sign-in-page.ts'

/**
 * Answers the sign-in and consent pages of a PDS without a browser, by the requests those pages make. Returns the URL
 * they would send the browser to. `port` is where the PDS itself listens.
 */
export async function signInOverHttp(port: number, url: string, answers: SignInAnswers): Promise<string> {
  const { origin, host, pathname, search } = new URL(url)
  const cookies = new Map<string, string>()

  async function send(method: string, path: string, headers: Record<string, string>, body?: object) {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const sent = request({
      host: '127.0.0.1',
      port,
      method,
      path,
      headers: { host, cookie, ...headers },
      agent: false,
    })
    sent.end(body && JSON.stringify(body))
    const [response] = (await once(sent, 'response')) as [IncomingMessage]
    for (const line of response.headers['set-cookie'] ?? []) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (name) cookies.set(name, value ?? '')
    }
    return { status: response.statusCode, location: response.headers.location, body: await text(response) }
  }
  const navigate = (path: string, site: string) =>
    send('GET', path, {
      'sec-fetch-mode': 'navigate',
      'sec-fetch-dest': 'document',
      'sec-fetch-site': site,
      referer: url,
    })
  async function ask(endpoint: string, body: object, token?: string) {
    const answer = await send(
      'POST',
      `/@atproto/oauth-provider/~api/${endpoint}`,
      {
        'content-type': 'application/json',
        'sec-fetch-mode': 'same-origin',
        'sec-fetch-site': 'same-origin',
        'x-csrf-token': cookies.get('csrf-token') ?? '',
        origin,
        referer: url,
        ...(token && { authorization: `Bearer ${token}` }),
      },
      body,
    )
    if (answer.status !== 200) throw new Error(`${endpoint}: ${answer.status} ${answer.body}`)
    return JSON.parse(answer.body)
  }

  const page = await navigate(pathname + search, 'cross-site')
  if (page.location) return page.location
  if (page.status !== 200) throw new Error(`${url}: ${page.status}`)
  const { handle, password, decision } = answers
  const signedIn = await ask('sign-in', { locale: 'en', username: handle, password })
  const decided =
    decision === 'Deny access'
      ? await ask('reject', {})
      : await ask('consent', { did: signedIn.account.did }, signedIn.ephemeralToken)
  const redirect = new URL(decided.url)
  const { location } = await navigate(redirect.pathname + redirect.search, 'same-origin')
  if (!location) throw new Error('The sign-in page did not redirect')
  return location
}
