import { expect } from 'vitest'
import type { OAuthClient, OAuthError } from '../../src/index.ts'
import type { FakeNetwork } from '../support/network.ts'

/** The `OAuthError` that `work` ends with. It and its causes hold no secret. */
export async function failureOf(network: FakeNetwork, work: Promise<unknown>): Promise<OAuthError> {
  const outcome = await work.then(
    () => new Error('Nothing failed'),
    (error: unknown) => error,
  )
  expect(outcome).toMatchObject({ name: 'OAuthError' })
  network.assertNoSecrets(outcome, 'the error')
  return outcome as OAuthError
}

/** A failed sign-in leaves nobody signed in, here or at any server, and reports no session. */
export function expectNobodySignedIn(network: FakeNetwork, client: OAuthClient): void {
  expect(client.accounts).toEqual([])
  expect(client.session).toBeUndefined()
  expect(network.sessions().filter(({ alive }) => alive)).toEqual([])
}
