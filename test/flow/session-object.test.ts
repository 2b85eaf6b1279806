import { reactive } from '@vue/reactivity'
import { expect, test } from 'vitest'
import { at } from '../support/network.ts'
import { warm } from './signed-in.ts'

/** Everything that can be called or read on an object, inherited or not. */
function membersOf(value: object): string[] {
  const names = new Set<string>()
  for (let holder = value; holder !== Object.prototype; holder = Object.getPrototypeOf(holder))
    for (const name of Reflect.ownKeys(holder)) names.add(String(name))
  return [...names].sort()
}

/** Whether a key can be reached from an object by reading members. */
function findKeys(value: unknown, path = 'session', seen = new Set<unknown>()): string[] {
  if (typeof value !== 'object' || value === null || seen.has(value)) return []
  seen.add(value)
  if (value instanceof CryptoKey) return [path]
  const names = membersOf(value).filter((name) => name !== '__proto__')
  return names.flatMap((name) => findKeys(Reflect.get(value, name), `${path}.${name}`, seen))
}

test('a session offers what is documented and nothing else, so that no script can take a token or a key from it (N14)', async () => {
  const { network, client, session } = await warm()
  expect(membersOf(session)).toEqual([
    'Symbol(Symbol.toStringTag)',
    'account',
    'appState',
    'constructor',
    'did',
    'expiresAt',
    'fetch',
    'fetchHandler',
    'handle',
    'issuer',
    'pds',
    'refresh',
    'scope',
    'signOut',
    'status',
  ])
  expect(findKeys(session)).toEqual([])
  network.assertNoSecrets(session, 'the session')
  network.assertNoSecrets(client, 'the client')
  network.assertNoSecrets(JSON.stringify([session, client, client.getSnapshot()]), 'what is logged')
})

test('a session can stand in the state of a Vue app, which wraps plain objects', async () => {
  const { client, session } = await warm()
  const state = reactive({ client, session, snapshot: client.getSnapshot() })
  for (const held of [state.session, state.snapshot.session, state.client.session]) {
    expect(held?.status).toBe('active')
    expect(held?.account.did).toBe(session.did)
    expect((await held?.fetch('/xrpc/dev.signet.ping'))?.status).toBe(200)
  }
})

test('the functions of a session work without it, as a client that was handed one calls them', async () => {
  const { network, session } = await warm()
  const { fetch, fetchHandler, handle } = session
  for (const call of [fetch, fetchHandler, handle]) {
    const response = await call('/xrpc/dev.signet.ping', { method: 'POST', body: 'hello' })
    expect(await response.json()).toMatchObject({ did: session.did, method: 'POST', body: 'hello' })
  }
  expect(network.count({ ...at.resource, method: 'POST' })).toBe(3)
  network.assertClean()
})
