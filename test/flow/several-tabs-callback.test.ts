import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { OAuthClient, SignInOptions } from '../../src/index.ts'
import { createTestClient } from '../support/client.ts'
import {
  ALICE,
  APP,
  AS,
  at,
  callbackParameters,
  createFakeNetwork,
  EVIL,
  editCallback,
  type FakeNetwork,
  faults,
  PDS,
} from '../support/network.ts'
import { useDisk } from './disk.ts'
import { expectNobodySignedIn, failureOf } from './failure.ts'
import { openPage } from './page.ts'
import { createBrowser, readRow } from './tabs.ts'

const disk = useDisk()
let network: FakeNetwork
beforeEach(() => {
  network = createFakeNetwork()
})
afterEach(() => network.assertClean())

const openTab = (options = {}): OAuthClient => createTestClient(network, { storage: 'auto', ...options })

async function begin(options: SignInOptions = {}, identifier: string = ALICE.handle): Promise<string> {
  const tab = openTab()
  const { url } = await tab.authorize(identifier, options)
  tab.close()
  return url
}

const pendingStates = async () => [...(await disk.read('authorizations')).keys()]

describe('a sign-in that has begun', () => {
  test('is on disk before the page leaves: account, server, key and verifier (PAR-08, DID-13, ASM-20)', async () => {
    const page = openPage(`${APP}/`)
    void openTab().signIn(ALICE.handle, { appState: { n: 1 } })
    await page.left
    const [[state, pending] = []] = await disk.read('authorizations')
    const { form } = network.requests(at.par)[0] ?? {}
    expect(state).toBe(form?.state)
    expect(pending).toMatchObject({
      did: ALICE.did,
      pds: PDS,
      redirectUri: form?.redirect_uri,
      scope: form?.scope,
      server: { issuer: AS, tokenEndpoint: `${AS}/oauth/token` },
      dpopKey: { privateKey: { extractable: false, type: 'private' } },
      appState: { n: 1 },
    })
  })

  test('is finished by a page that was loaded later, with the same verifier and key (PAR-08, PKCE-04)', async () => {
    const url = await begin()
    const session = await openTab().handleCallback(network.approve(url))
    expect(session.did).toBe(ALICE.did)
    const [{ form, proof } = { form: {} as Record<string, string>, proof: undefined }] = network.requests(
      at.exchange,
    )
    const pushed = network.requests(at.par)[0]?.form
    const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(form.code_verifier))
    expect(Buffer.from(digest).toString('base64url')).toBe(pushed?.code_challenge)
    expect(proof?.jkt).toBe(pushed?.dpop_jkt)
  })

  test('leaves nothing on disk when the request was refused or lost (F13)', async () => {
    for (const handler of [faults.loseAnswer(), faults.status(503), faults.oauthError('invalid_scope')]) {
      const fault = network.on(at.par, handler)
      await failureOf(network, openTab().authorize(ALICE.handle))
      fault.off()
    }
    const tab = openTab()
    await tab.initialize()
    expect(await pendingStates()).toEqual([])
  })

  test('leaves nothing of itself in the browser once it is over (CB-12, PKCE-04, G16)', async () => {
    await begin()
    network.clock.advance(3_600_001)
    const url = await begin()
    const [state, ...others] = await pendingStates()
    expect(callbackParameters(network.approve(url)).get('state')).toBe(state)
    expect(others).toEqual([])
  })

  test('is purged by the next page that opens, though nobody comes back (CB-12, G16)', async () => {
    const tab = openTab()
    await tab.authorize(ALICE.handle)
    network.clock.advance(3_600_001)
    await openTab().initialize()
    await vi.waitFor(async () => expect(await pendingStates()).toEqual([]))
  })
})

describe('a callback', () => {
  test('takes the request off the disk before anything is sent (CB-02, PKCE-04)', async () => {
    const url = await begin()
    const gate = faults.hold()
    network.on({ method: 'POST' }, gate.handler)
    const finishing = openTab().handleCallback(network.approve(url))
    await gate.reached
    expect(await pendingStates()).toEqual([])
    gate.release()
    await finishing
  })

  test.each([
    ['is refused', (callback: string) => editCallback(callback, { code: null, error: 'access_denied' })],
    ['has the wrong iss', (callback: string) => editCallback(callback, { iss: EVIL })],
    ['has a wrong code', (callback: string) => editCallback(callback, { code: 'wrong' })],
    ['succeeds', (callback: string) => callback],
  ])('leaves no verifier on the disk when it %s (PKCE-04, CB-03)', async (_name, edit) => {
    const callback = edit(network.approve(await begin()))
    await openTab()
      .handleCallback(callback)
      .catch(() => {})
    expect(await pendingStates()).toEqual([])
  })

  test('opened in several tabs at once redeems the code once (CB-02, G05)', async () => {
    const callback = network.approve(await begin())
    const tabs = [openTab(), openTab(), openTab()]
    const outcomes = await Promise.allSettled(tabs.map((tab) => tab.handleCallback(callback)))
    const won = outcomes.filter(({ status }) => status === 'fulfilled')
    const lost = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason.code] : []))
    expect(won).toHaveLength(1)
    expect(lost).toEqual(['authorization_unknown', 'authorization_unknown'])
    expect(network.count(at.exchange)).toBe(1)
    expect(network.sessionAlive(ALICE.did)).toBe(true)
  })

  test('opened again by a reload changes nothing, and the session is still there (CB-02, G04, TOK-02)', async () => {
    const callback = network.approve(await begin())
    await openTab().handleCallback(callback)
    openPage(callback)
    const tab = openTab()
    const diagnostics: string[] = []
    tab.on('diagnostic', ({ code }) => diagnostics.push(code))
    const session = await tab.initialize()
    expect(session?.did).toBe(ALICE.did)
    expect(diagnostics).toEqual(['callback_ignored'])
    expect(await failureOf(network, openTab().handleCallback(callback))).toMatchObject({
      code: 'authorization_unknown',
    })
    expect(network.count(at.exchange)).toBe(1)
    expect((await session?.fetch('/xrpc/dev.signet.echo'))?.status).toBe(200)
  })

  test('whose answer was lost is not sent again by a reload (TOK-02, CB-02)', async () => {
    const callback = network.approve(await begin())
    network.on(at.exchange, faults.loseAnswer(), { times: 1 })
    const first = await failureOf(network, openTab().handleCallback(callback))
    expect(first).toMatchObject({ code: 'network_failed' })
    const tab = openTab()
    expect(await failureOf(network, tab.handleCallback(callback))).toMatchObject({
      code: 'authorization_unknown',
    })
    expect(network.count(at.exchange)).toBe(1)
    expect(tab.accounts).toEqual([])
  })

  test('of another app on this origin is refused, and its request spent for neither (CB-01)', async () => {
    const callback = network.approve(await begin())
    const other = openTab({ namespace: 'other' })
    expect(await failureOf(network, other.handleCallback(callback))).toMatchObject({
      code: 'authorization_unknown',
    })
    expectNobodySignedIn(network, other)
    expect((await openTab().handleCallback(callback)).did).toBe(ALICE.did)
  })
})

describe('a popup', () => {
  /** What `window.open` gives: severed from us as soon as the sign-in page has loaded (COOP). */
  function openWindow() {
    const { promise: shown, resolve: show } = Promise.withResolvers<string>()
    const popup = {
      closed: false,
      opener: {} as unknown,
      close() {},
      postMessage: () => expect.unreachable('a message to a window'),
      location: {
        replace(url: string) {
          popup.closed = true
          show(url)
        },
      },
    }
    vi.stubGlobal('screenX', 0)
    vi.stubGlobal('outerWidth', 1024)
    vi.stubGlobal('window', { open: () => popup })
    vi.stubGlobal('close', () => {})
    return { popup, shown }
  }

  test('finishes by itself and tells its origin, without opener or closed (CB-14, CB-15)', async () => {
    const { popup, shown } = openWindow()
    const tab = openTab()
    const signingIn = tab.signInWithPopup(ALICE.handle, { appState: 'draft' })
    const callback = network.approve(await shown)
    expect(popup.opener).toBeNull()
    await openTab().handleCallback(callback)
    expect(await signingIn).toMatchObject({ did: ALICE.did, appState: 'draft' })
    expect(network.count(at.exchange)).toBe(1)
  })

  test('tells a refusal as well (CB-14, CB-15)', async () => {
    const { shown } = openWindow()
    const signingIn = failureOf(network, openTab().signInWithPopup(ALICE.handle))
    const callback = network.approve(await shown, { deny: true })
    await failureOf(network, openTab().handleCallback(callback))
    const refusal = await signingIn
    expect(refusal).toMatchObject({ code: 'authorization_refused', oauthError: 'access_denied' })
    expect(refusal.message.match(/authorization_refused/g)).toHaveLength(1)
  })

  test('says nothing that could be used by a listener (CB-14)', async () => {
    const heard: unknown[] = []
    const channel = new BroadcastChannel('signet:default')
    channel.onmessage = (message) => heard.push((message as MessageEvent).data)
    const { shown } = openWindow()
    const tab = openTab()
    const signingIn = tab.signInWithPopup(ALICE.handle)
    await openTab().handleCallback(network.approve(await shown))
    await signingIn
    channel.close()
    expect(JSON.stringify(heard)).toContain('authorized')
    network.assertNoSecrets(heard, 'what the tabs tell each other')
  })
})

test('a client that is closed while it finishes a sign-in has still signed in (CB-02)', async () => {
  const { network, namespace, openClient } = createBrowser(createFakeNetwork())
  const client = openClient()
  const { url } = await client.authorize(ALICE.handle)
  const held = faults.hold({ after: true })
  network.on({ ...at.exchange, where: ({ proof }) => proof?.payload.nonce !== undefined }, held.handler)
  const session = client.handleCallback(network.approve(url))
  await held.reached
  client.close()
  held.release()
  expect((await session).did).toBe(ALICE.did)
  expect(await readRow(namespace, ALICE.did)).toBeDefined()
  expect(network.sessionAlive(ALICE.did)).toBe(true)
})
