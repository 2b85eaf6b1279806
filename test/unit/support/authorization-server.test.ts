import { describe, expect, test } from 'vitest'
import { ALICE, CLIENT_ID } from '../../support/hosts.ts'
import { generateDpopKey, thumbprint } from '../../support/keys.ts'
import { errorOf, start } from './miniature-client.ts'

describe('loopback clients', () => {
  const push = async (clientId: string, redirectUri: string) => {
    const { client } = start()
    const key = await generateDpopKey()
    const state = 's'.repeat(22)
    const parameters = client.parameters(await thumbprint(key), 'v'.repeat(43), state, {
      client_id: clientId,
      redirect_uri: redirectUri,
      scope: 'atproto',
    })
    return (await client.post(key, 'https://as.signet.dev/oauth/par', parameters, null)).status
  }

  test.each([
    ['http://localhost', 'http://127.0.0.1:5173/', 201],
    ['http://localhost/?scope=atproto', 'http://[::1]/', 201],
    ['http://localhost?redirect_uri=http%3A%2F%2F127.0.0.1%2Fcb', 'http://127.0.0.1:9999/cb', 201],
    ['http://localhost?redirect_uri=http%3A%2F%2F127.0.0.1%3A9000%2Fcb', 'http://127.0.0.1:9999/cb', 400],
    ['http://localhost', 'http://127.0.0.1/cb', 400],
    ['http://localhost?redirect_uri=http%3A%2F%2Flocalhost%2F', 'http://localhost/', 400],
    ['http://localhost:8080', 'http://127.0.0.1/', 400],
    ['http://localhost/app', 'http://127.0.0.1/', 400],
    ['http://localhost?foo=1', 'http://127.0.0.1/', 400],
    ['http://localhost?scope=atproto&scope=atproto', 'http://127.0.0.1/', 400],
  ])('%s with %s gets %i', async (clientId, redirectUri, status) => {
    expect(await push(clientId, redirectUri)).toBe(status)
  })
})

describe('the authorization server refuses', () => {
  test('a JSON body', async () => {
    const { client } = start()
    const { key, issuer, parameters } = await client.authorize(ALICE.handle)
    const init = {
      method: 'POST',
      body: JSON.stringify(parameters),
      headers: { 'content-type': 'application/json' },
    }
    expect((await client.send(key, `${issuer}/oauth/par`, init, null)).status).toBe(415)
  })

  test.each([
    ['an undeclared redirect URI', { redirect_uri: 'https://app.signet.dev/else' }, 'invalid_redirect_uri'],
    ['an undeclared scope', { scope: 'atproto repo:*' }, 'invalid_scope'],
    ['a scope without atproto', { scope: 'transition:generic' }, 'invalid_scope'],
    ['plain PKCE', { code_challenge_method: 'plain' }, 'invalid_request'],
    ['an e-mail address as hint', { login_hint: 'alice@handles.dev' }, 'invalid_request'],
    ['prompt=none', { prompt: 'none' }, 'invalid_request'],
    ['an unknown client', { client_id: 'https://app.signet.dev/unknown.json' }, 'invalid_client_metadata'],
    ['a locale with a script', { ui_locales: 'zh-Hant-TW' }, 'invalid_request'],
  ])('%s', async (_name, changes, error) => {
    const { client } = start()
    await expect(client.authorize(ALICE.handle, changes)).rejects.toThrow(error)
  })

  test('a pushed request whose proof and dpop_jkt disagree', async () => {
    const { client } = start()
    const { issuer, parameters } = await client.authorize(ALICE.handle)
    const response = await client.post(await generateDpopKey(), `${issuer}/oauth/par`, parameters)
    expect([response.status, await errorOf(response)]).toEqual([401, 'invalid_token'])
  })

  test.each([
    ['verifier', { code_verifier: 'x'.repeat(43) }],
    ['redirect URI', { redirect_uri: 'https://app.signet.dev/other-callback' }],
  ])('a wrong %s, and burns the code', async (_name, changes) => {
    const { network, client } = start()
    const flow = await client.authorize(ALICE.handle)
    const callback = network.approve(flow.url)
    expect(await errorOf(await client.redeem(flow, callback, changes))).toBe('invalid_grant')
    expect(await errorOf(await client.redeem(flow, callback))).toBe('invalid_grant')
    expect(network.sessionAlive(ALICE.did)).toBe(false)
  })

  test('another key than the one the request was bound to', async () => {
    const { network, client } = start()
    const flow = await client.authorize(ALICE.handle)
    const response = await client.redeem({ ...flow, key: await generateDpopKey() }, network.approve(flow.url))
    expect(await errorOf(response)).toBe('invalid_grant')
  })

  test('a code used twice, and ends its session', async () => {
    const { network, client } = start()
    const flow = await client.authorize(ALICE.handle)
    const callback = network.approve(flow.url)
    expect((await client.redeem(flow, callback)).status).toBe(200)
    expect(await errorOf(await client.redeem(flow, callback))).toBe('invalid_grant')
    expect(network.sessionAlive(ALICE.did)).toBe(false)
    expect(network.violations().join()).toContain('INV8: code sent 2 times')
  })

  test('a refresh token used twice, and ends its session', async () => {
    const { network, client } = start()
    const flow = await client.signIn(ALICE.handle)
    await client.refresh(flow, flow.tokens.refresh_token)
    expect(await errorOf(await client.refresh(flow, flow.tokens.refresh_token))).toBe('invalid_grant')
    expect(network.sessions(ALICE.did)[0]).toMatchObject({ alive: false, endedBy: 'refresh_replay' })
    expect(() => network.assertClean()).toThrow('INV8')
  })

  test('a refresh with another key, and ends the session', async () => {
    const { network, client } = start()
    const flow = await client.signIn(ALICE.handle)
    await client.refresh(flow, flow.tokens.refresh_token, await generateDpopKey())
    expect(network.sessionAlive(ALICE.did)).toBe(false)
  })

  test('a token request without proof, and keeps the session', async () => {
    const { network, client } = start()
    const flow = await client.signIn(ALICE.handle)
    const form = {
      grant_type: 'refresh_token',
      refresh_token: flow.tokens.refresh_token,
      client_id: CLIENT_ID,
    }
    const response = await client.post(flow.key, `${flow.issuer}/oauth/token`, form, null)
    expect([response.status, await errorOf(response)]).toEqual([401, 'invalid_dpop_proof'])
    expect(network.sessionAlive(ALICE.did)).toBe(true)
  })

  test('a missing or stale nonce before it looks at the code', async () => {
    const { network, client } = start()
    const flow = await client.authorize(ALICE.handle)
    const callback = network.approve(flow.url)
    client.nonces.clear()
    const first = await client.redeem(flow, callback)
    expect([first.status, await errorOf(first)]).toEqual([400, 'use_dpop_nonce'])
    expect((await client.redeem(flow, callback)).status).toBe(200)
    network.assertClean()
  })

  test('nothing on a nonce handed out two minutes ago, but one handed out four minutes ago', async () => {
    const { network, client } = start()
    const flow = await client.signIn(ALICE.handle)
    const nonce = client.nonces.get(flow.issuer)
    network.clock.advance(119_000)
    const revoke = () =>
      client.post(
        flow.key,
        `${flow.issuer}/oauth/revoke`,
        { token: 'unknown', client_id: CLIENT_ID },
        { nonce },
      )
    expect((await revoke()).status).toBe(200)
    network.clock.advance(121_000)
    expect((await revoke()).status).toBe(400)
  })

  test('no revocation aloud, but does nothing without a proof', async () => {
    const { network, client } = start()
    const flow = await client.signIn(ALICE.handle)
    const form = { token: flow.tokens.refresh_token, client_id: CLIENT_ID }
    expect((await client.post(flow.key, `${flow.issuer}/oauth/revoke`, form, null)).status).toBe(200)
    expect(network.sessionAlive(ALICE.did)).toBe(true)
    expect(network.violations().join()).toContain('REV-03')
  })

  test('to revoke by an access token that was rotated', async () => {
    const { network, client } = start()
    const flow = await client.signIn(ALICE.handle)
    await client.refresh(flow, flow.tokens.refresh_token)
    const revoke = (token: string) =>
      client.post(flow.key, `${flow.issuer}/oauth/revoke`, { token, client_id: CLIENT_ID })
    await revoke(flow.tokens.access_token)
    expect(network.sessionAlive(ALICE.did)).toBe(true)
    await revoke(flow.tokens.refresh_token)
    expect(network.sessionAlive(ALICE.did)).toBe(false)
  })
})
