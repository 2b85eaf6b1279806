import { expect, test } from 'vitest'
import { createTestClient, signInTo } from '../../support/client.ts'
import { ALICE, CAROL, createFakeNetwork, DORA, PDS } from '../../support/network.ts'

test.each([
  ['a handle', ALICE.handle, ALICE],
  ['a DID', ALICE.did, ALICE],
  ['a server', PDS, ALICE],
  ['an account elsewhere', CAROL.handle, CAROL],
  ['a did:web account', DORA.handle, DORA],
])('signInTo takes a client over the network with %s', async (_name, identifier, account) => {
  const network = createFakeNetwork()
  const session = await signInTo(network, createTestClient(network), identifier)
  expect(session).toMatchObject({ did: account.did, pds: account.pds })
  expect(network.sessionAlive(account.did)).toBe(true)
  network.assertClean()
})
