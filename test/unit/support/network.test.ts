import { describe, expect, test } from 'vitest'
import { at } from '../../support/exchange.ts'
import { hang } from '../../support/faults.ts'
import {
  ALICE,
  APP,
  BOB,
  CAROL,
  CLIENT_ID,
  DOH,
  DORA,
  EVIL,
  PDS,
  PDS2,
  RESOLVER,
} from '../../support/hosts.ts'
import { callbackParameters, editCallback } from '../../support/network.ts'
import { start } from './miniature-client.ts'

describe('an honest life', () => {
  test('runs from a handle to an authorised answer, a refresh and a sign-out', async () => {
    const { network, client } = start()
    const flow = await client.signIn(ALICE.handle)
    expect(flow.tokens).toMatchObject({ sub: ALICE.did, token_type: 'DPoP', expires_in: 3599 })

    const answer = await client.call(flow, flow.tokens.access_token, '/xrpc/dev.signet.echo?a=1', {
      method: 'POST',
      body: 'hello',
    })
    expect(await answer.json()).toMatchObject({ did: ALICE.did, query: { a: '1' }, body: 'hello' })

    const refreshed = await client.refresh(flow, flow.tokens.refresh_token)
    const next = (await refreshed.json()) as typeof flow.tokens
    const old = await client.call(flow, flow.tokens.access_token, '/xrpc/dev.signet.echo')
    expect(old.status).toBe(401)
    expect(old.headers.get('www-authenticate')).toContain('invalid_token')
    expect((await client.call(flow, next.access_token, '/xrpc/dev.signet.echo')).status).toBe(200)

    await client.post(flow.key, `${flow.issuer}/oauth/revoke`, {
      token: next.refresh_token,
      client_id: CLIENT_ID,
    })
    expect(network.sessionAlive(ALICE.did)).toBe(false)
    network.assertClean()
  })

  test('serves accounts on other servers and a did:web account', async () => {
    const { network, client } = start()
    const carol = await client.signIn(CAROL.handle)
    expect(carol.pds).toBe(PDS2)
    expect(await client.json(`https://${DORA.handle}/.well-known/did.json`)).toMatchObject({ id: DORA.did })
    expect(network.sessionAlive(CAROL.did)).toBe(true)
    network.assertClean()
  })

  test('can be its own authorization server', async () => {
    const { network, client } = start({ standalone: true })
    const flow = await client.signIn(ALICE.handle)
    expect(flow.issuer).toBe(PDS)
    expect((await client.call(flow, flow.tokens.access_token, '/xrpc/dev.signet.echo')).status).toBe(200)
    expect(network.requests('pds', /^\/xrpc\//)).toHaveLength(1)
    network.assertClean()
  })

  test('publishes handles by the methods chosen', async () => {
    const { network, client } = start()
    network.handles.set('only.handles.dev', { dns: [['did=did:plc:', 'aaaa'], 'v=spf1'] })
    const answer = await client.json(`${DOH}?name=_atproto.only.handles.dev&type=TXT`)
    expect(answer.Answer).toMatchObject([{ type: 16, data: '"did=did:plc:" "aaaa"' }, { data: '"v=spf1"' }])
    const url = `${RESOLVER}/xrpc/com.atproto.identity.resolveHandle?handle=only.handles.dev`
    await expect(client.json(url)).rejects.toThrow('400')
    await expect(client.json('https://only.handles.dev/.well-known/atproto-did')).rejects.toThrow('404')
    await expect(client.json('https://nobody.handles.dev/.well-known/atproto-did')).rejects.toThrow(
      'Failed to fetch',
    )
  })

  test('answers the callback in query or fragment, or with a refusal', async () => {
    const { network, client } = start()
    const inQuery = network.approve((await client.authorize(ALICE.handle, { response_mode: 'query' })).url)
    expect(new URL(inQuery).searchParams.get('code')).toMatch(/^CODE_/)
    const denied = network.approve((await client.authorize(ALICE.handle)).url, { deny: true })
    expect(callbackParameters(denied).get('error')).toBe('access_denied')
    expect(
      callbackParameters(editCallback(denied, { iss: null, error: ['a', 'b'] })).getAll('error'),
    ).toEqual(['a', 'b'])
  })
})

describe('the attacker', () => {
  test('runs a server that signs in anybody as anybody', async () => {
    const { network, client } = start()
    network.addAccount({ did: 'did:plc:mallorymallorymallorymal', handle: 'mallory.handles.dev', pds: EVIL })
    const flow = await client.authorize('mallory.handles.dev')
    const response = await client.redeem(flow, network.approve(flow.url, { as: ALICE.did }))
    expect(await response.json()).toMatchObject({ sub: ALICE.did })
    network.assertClean()
  })

  test('can forward what it got, unseen', async () => {
    const { network } = start()
    network.on(at.evil, (request) =>
      network.deliver(`https://as.signet.dev${request.path}`, { method: 'POST' }),
    )
    const response = await network.fetch(`${EVIL}/oauth/par`, { method: 'POST' })
    expect(response.status).toBe(415)
    expect(network.log.map(({ role }) => role)).toEqual(['evil'])
  })
})

describe('the person', () => {
  test('is shown no page for a URL that carries parameters', async () => {
    const { network, client } = start()
    const { url } = await client.authorize(ALICE.handle)
    expect(() => network.approve(`${url}&state=x`)).toThrow('PAR-01')
    expect(() => network.approve(`${url}&client_id=${CLIENT_ID}`)).toThrow('exactly once')
    expect(() => network.approve(url.replace('req_', 'req_0'))).toThrow('unknown request_uri')
    expect(() => network.approve(`${APP}/oauth/authorize`)).toThrow('no authorization page')
    network.approve(`${url}&tenant=1`, { presets: { tenant: '1' } })
  })

  test('can approve once, in time, and as somebody else', async () => {
    const { network, client } = start()
    const flow = await client.authorize(ALICE.handle)
    const callback = network.approve(flow.url, { as: BOB.did })
    expect(((await (await client.redeem(flow, callback)).json()) as { sub: string }).sub).toBe(BOB.did)
    expect(callbackParameters(network.approve(flow.url)).get('error')).toBe('access_denied')
    const late = await client.authorize(ALICE.handle)
    network.clock.advance(301_000)
    expect(callbackParameters(network.approve(late.url)).get('error_description')).toContain('expired')
  })
})

describe('assertClean', () => {
  test('reports impolite requests', async () => {
    const { network } = start()
    await network.fetch(`${PDS}/.well-known/oauth-protected-resource`, {
      headers: { 'x-extra': '1', cookie: 'a=b' },
    })
    expect(network.violations().map((text) => text.split(':')[0])).toEqual(
      expect.arrayContaining(['INV5', 'R4', 'PRM-06']),
    )
    network.tolerate(/./)
    network.assertClean()
  })

  test('lets a code be repeated after its proof was refused for the clock', async () => {
    const { network, client } = start()
    network.clockSkew(3_600_000)
    const flow = await client.authorize(ALICE.handle)
    const callback = network.approve(flow.url)
    expect((await client.redeem(flow, callback)).status).toBe(401)
    network.clock.advance(3_600_000)
    network.clockSkew(0)
    expect((await client.redeem(flow, callback)).status).toBe(200)
    network.assertClean()
  })

  test('reports state, challenge or key used for a second flow', async () => {
    const { network, client } = start()
    const flow = await client.authorize(ALICE.handle)
    network.assertClean()
    const again = { ...flow.parameters, state: 's'.repeat(22) }
    await client.post(flow.key, `${flow.issuer}/oauth/par`, again, null)
    expect(network.violations().join()).toMatch(/PKCE-03 challenge,DPOP-20 key/)
  })

  test('reports requests to hosts nobody named, and handlers that throw', async () => {
    const { network } = start()
    await expect(network.fetch('https://nowhere.dev/x')).rejects.toThrow('Failed to fetch')
    network.on(at.plc, () => expect.fail('should not come'))
    await expect(network.fetch('https://plc.signet.dev/x')).rejects.toThrow()
    expect(network.violations().join()).toMatch(/no such host[\s\S]*a handler threw/)
  })

  test('reports secrets in the wrong place', async () => {
    const { network, client } = start()
    const flow = await client.signIn(ALICE.handle)
    network.assertClean()
    const { access_token, refresh_token } = flow.tokens
    await client.send(flow.key, `${EVIL}/${access_token}`, { headers: { 'x-code': refresh_token } }, null)
    await client.send(flow.key, `${EVIL}/?v=${flow.verifier}`, {}, null)
    expect(network.violations().map((text) => text.split(':')[0])).toEqual(['INV1', 'INV2', 'INV3'])
  })

  test('reports what was expected and never came', async () => {
    const { network } = start()
    network.expect(at.revoke)
    network.on(at.token, hang(), { times: 1 })
    expect(() => network.assertClean()).toThrow(
      /expected a request\(s\) role=as path=\/oauth\/revoke[\s\S]*never used/,
    )
    network.reset()
    network.assertClean()
  })

  test('finds secrets inside errors', async () => {
    const { network, client } = start()
    const flow = await client.signIn(ALICE.handle)
    const error = new Error('failed', {
      cause: { deep: new Map([['token', `Bearer ${flow.tokens.access_token}`]]) },
    })
    expect(() => network.assertNoSecrets(error)).toThrow('access token at')
    network.assertNoSecrets(new Error('failed'))
  })
})
