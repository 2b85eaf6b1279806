import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { engines, type Page } from '../engines/index.ts'
import type { Site } from '../engines/serve.ts'
import type { Account, Match, Network } from '../network/network.ts'
import { startNetworkProcess } from '../network/start.ts'
import { open, outcome, serveApp, signIn, signOutAll, useContext } from './app.ts'

const resolveHandle = { path: '/xrpc/com.atproto.identity.resolveHandle' }

let network: Network
let app: Site

beforeAll(async () => {
  network = await startNetworkProcess()
  app = await serveApp(network)
})
afterAll(async () => {
  await app?.close()
  await network?.stop()
})

/** Calls a method of an account's server in the account's own name. */
async function ask({ pds, did, password }: Account, nsid: string, body: object): Promise<void> {
  const post = async (nsid: string, body: object, token?: string) => {
    const authorization = token && { authorization: `Bearer ${token}` }
    const response = await fetch(`${pds}/xrpc/${nsid}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...authorization },
      body: JSON.stringify(body),
    })
    expect(response.status).toBe(200)
    return response
  }
  const session = await post('com.atproto.server.createSession', { identifier: did, password })
  await post(nsid, body, (await session.json()).accessJwt)
}

describe.each(engines)('$name', (engine) => {
  const shared = useContext(engine)
  let page: Page
  let account: Account
  let count = 0

  beforeEach(async () => {
    page ??= await shared.context.newPage()
    await open(page, app.origin)
    await signOutAll(page)
    account = await network.createAccount(`life${count++}-${engine.name}.test`, 0)
  })

  const begin = (identifier: string) =>
    page.eval(async (identifier) => (await window.app.client.authorize(identifier)).url, identifier)

  /** What is wrong with a sign-in that begins, or with the one whose callback this is. */
  const failure = (way: 'authorize' | 'handleCallback', argument: string) =>
    page.eval(
      async ({ way, argument }) => {
        const error = await window.app.client[way](argument).then(
          () => undefined,
          (error) => error,
        )
        return { code: error?.code, retryable: error?.retryable, userMessage: error?.userMessage }
      },
      { way, argument },
    )

  test('tells a person of a server that is out of order to come back, not that the account is wrong', async () => {
    const steps: Match[] = [
      resolveHandle,
      { party: 'plc' },
      { path: '/.well-known/oauth-protected-resource' },
      { path: '/.well-known/oauth-authorization-server' },
      { path: '/oauth/par' },
    ]
    const said = []
    for (const match of steps) {
      await page.reload()
      await outcome(page)
      const fault = await network.answer(match, { status: 503, body: { error: 'x' } }, { times: 'always' })
      said.push(await failure('authorize', account.handle))
      await fault.remove()
    }
    for (const { userMessage, retryable } of said) {
      expect.soft(retryable).toBe(true)
      expect.soft(userMessage).toMatch(/try again later/i)
    }
  })

  test('does not call a callback retryable that fails the same way for ever', async () => {
    const callback = await network.authorize(await begin(account.handle), account)
    await network.answer({ path: '/oauth/token' }, { status: 503, body: { error: 'server_error' } })
    const first = await failure('handleCallback', callback)
    const second = await failure('handleCallback', callback)
    expect(second).toEqual(first)
    expect(first).toMatchObject({ code: 'token_request_failed', retryable: false })
  })

  test('ends the session that a new sign-in replaces, though the page goes on at once', async () => {
    await signIn(page, network, account)
    const callback = await network.authorize(await begin(account.handle), account)
    await network.log.clear()
    await network.setLatency(200)
    await page.start(async (callback) => {
      await window.app.client.handleCallback(callback)
      location.assign('/blank')
    }, callback)
    await page.waitUrl(/blank/)
    await new Promise((done) => setTimeout(done, 2_000))
    await network.setLatency(0)
    const statuses = (await network.log.entries({ path: '/oauth/revoke' })).map(({ status }) => status)
    expect(statuses).toEqual([200])
  })

  test('keeps the handle it knows when the person signs in again by DID while nobody can be asked', async () => {
    await signIn(page, network, account)
    const handle = () => page.eval(() => window.app.client.session?.account.handle)
    expect(await handle()).toBe(account.handle)
    const fault = await network.dropBefore(resolveHandle, { times: 'always' })
    const callback = await network.authorize(await begin(account.did), account)
    await page.eval(async (url) => void (await window.app.client.handleCallback(url)), callback)
    await fault.remove()
    expect(await handle()).toBe(account.handle)
  })

  test('says to start again when the server has given up the request, not that access was refused', async () => {
    const url = await begin(account.handle)
    const first = await network.authorize(url, account)
    // Back to the server's page before the answer was used.
    const second = await network.authorize(url, account)
    expect(new URL(second).hash).toContain('error_description=This+request+was+already+authorized')
    expect.soft(await failure('handleCallback', second)).toMatchObject({
      code: 'authorization_refused',
      userMessage: expect.stringMatching(/start again/i),
    })
    const another = await begin(account.handle)
    const unused = await network.authorize(another, account)
    await network.authorize(another, account)
    expect.soft(await failure('handleCallback', unused)).toMatchObject({
      code: 'token_request_failed',
      userMessage: expect.stringMatching(/start again/i),
    })
    expect(first).toBeTruthy()
  })

  test('says of an account that is deactivated more than that access was not given', async () => {
    const url = await begin(account.handle)
    await ask(account, 'com.atproto.server.deactivateAccount', {})
    const callback = await network.authorize(url, account)
    expect(new URL(callback).hash).toContain('error_description=This+account+has+been+deactivated')
    const { userMessage } = await failure('handleCallback', callback)
    expect(userMessage).not.toBe('Access was not given, so nothing has changed.')
  })
})
