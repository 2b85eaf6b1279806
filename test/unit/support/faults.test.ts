import { describe, expect, test } from 'vitest'
import { at } from '../../support/exchange.ts'
import { endlessBody, hang, hold, loseAnswer, redirectTo, stalledBody } from '../../support/faults.ts'
import { ALICE, EVIL, PDS, RESOLVER } from '../../support/hosts.ts'
import { start } from './miniature-client.ts'

describe('faults', () => {
  test('are asked newest first and can call the ones below them', async () => {
    const { network, client } = start()
    const order: string[] = []
    network.on(at.resolver, (_request, next) => {
      order.push('first')
      return next()
    })
    network.on(
      at.resolver,
      (_request, next) => {
        order.push('second')
        return next()
      },
      { times: 1 },
    )
    await client.discover(ALICE.handle)
    await client.discover(ALICE.handle)
    expect(order).toEqual(['second', 'first', 'first'])
  })

  test('can lose an answer after the server did its work', async () => {
    const { network, client } = start()
    const flow = await client.signIn(ALICE.handle)
    network.on(at.refresh, loseAnswer(), { times: 1 })
    await expect(client.refresh(flow, flow.tokens.refresh_token)).rejects.toThrow(TypeError)
    expect(network.sessions(ALICE.did)[0]?.refreshToken).not.toBe(flow.tokens.refresh_token)
  })

  test('can hang until the client gives up, and hold a request to a moment', async () => {
    const { network, client } = start()
    const controller = new AbortController()
    network.on(at.resolver, hang(), { times: 1 })
    const arrival = hold()
    network.on(at.resolver, arrival.handler, { times: 1 })
    const hanging = network.fetch(`${RESOLVER}/xrpc/x`, { signal: controller.signal })
    await arrival.reached
    arrival.release()
    controller.abort(new Error('enough'))
    await expect(hanging).rejects.toThrow('enough')
    expect(network.requests('xrpc')[0]?.outcome).toBe('aborted')

    const gate = hold()
    network.on(at.plc, gate.handler)
    const discovery = client.discover(ALICE.handle)
    await gate.reached
    expect(network.count(at.resourceMetadata)).toBe(0)
    gate.release()
    await discovery
    expect((await network.settled(at.resourceMetadata)).response?.status).toBe(200)
  })

  test('can send a body that never ends, and count what was read', async () => {
    const { network } = start()
    network.on(at.plc, endlessBody())
    const response = await network.fetch(`https://plc.signet.dev/${ALICE.did}`)
    const reader = response.body?.getReader()
    await reader?.read()
    await reader?.read()
    await reader?.cancel()
    expect(network.requests('plc')[0]).toMatchObject({ bytesDelivered: 2048, bodyCancelled: true })
  })

  test('can end in an abort while the body is read', async () => {
    const { network } = start()
    network.on(at.plc, stalledBody())
    const controller = new AbortController()
    const response = await network.fetch(`https://plc.signet.dev/${ALICE.did}`, { signal: controller.signal })
    const reading = response.text()
    controller.abort(new Error('enough'))
    await expect(reading).rejects.toThrow('enough')
    expect(network.log[0]?.bodyCancelled).toBe(true)
  })

  test('redirect as browsers do', async () => {
    const { network } = start()
    network.on(at.par, redirectTo(EVIL, 307))
    const init = { method: 'POST', body: 'secret', headers: { authorization: 'x', dpop: 'y' } }
    const manual = await network.fetch('https://as.signet.dev/oauth/par', { ...init, redirect: 'manual' })
    expect([manual.type, manual.status, manual.headers.get('location')]).toEqual(['opaqueredirect', 0, null])
    expect(network.count(at.evil)).toBe(0)
    await expect(
      network.fetch('https://as.signet.dev/oauth/par', { ...init, redirect: 'error' }),
    ).rejects.toThrow(TypeError)
    const followed = await network.fetch('https://as.signet.dev/oauth/par', init)
    expect(followed.redirected).toBe(true)
    const [atEvil] = network.requests('evil')
    expect([atEvil?.text, atEvil?.headers.get('authorization'), atEvil?.headers.get('dpop')]).toEqual([
      'secret',
      null,
      'y',
    ])
  })
})

test('fetch may not be called as a method of something else, as in a browser', async () => {
  const { network } = start()
  const options = { fetch: network.fetch }
  await expect(options.fetch(PDS)).rejects.toThrow('Illegal invocation')
})
