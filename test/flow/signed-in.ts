import type {
  DiagnosticEvent,
  OAuthClient,
  OAuthClientOptions,
  Session,
  SessionEvent,
} from '../../src/index.ts'
import { createTestClient, signInTo } from '../support/client.ts'
import {
  ALICE,
  at,
  createFakeNetwork,
  type FakeNetwork,
  type FakeNetworkOptions,
  PDS,
} from '../support/network.ts'
import type { NonceMode } from '../support/proofs.ts'

/** A method that needs no scope and echoes what it is sent. */
export const PING = '/xrpc/dev.signet.ping'
export const SECOND = 1_000
export const MINUTE: number = 60 * SECOND
export const HOUR: number = 60 * MINUTE
export const DAY: number = 24 * HOUR

export interface SignedIn {
  network: FakeNetwork
  client: OAuthClient
  session: Session
}

export interface SignedInOptions extends FakeNetworkOptions {
  /** How ALICE's servers hand out nonces. */
  nonces?: NonceMode
}

/** ALICE, signed in; her access token lives for an hour. */
export async function signedIn(
  options: SignedInOptions = {},
  overrides: OAuthClientOptions = {},
): Promise<SignedIn> {
  const network = createFakeNetwork(options)
  if (options.nonces) setNonceMode(network, options.nonces)
  // Locks and channels have the namespace in their names: no test shares them with another.
  const client = createTestClient(network, { namespace: crypto.randomUUID(), ...overrides })
  await client.initialize()
  const session = await signInTo(network, client, ALICE.handle)
  return { network, client, session }
}

/** As {@link signedIn}, with the PDS's nonce known. */
export async function warm(
  options: SignedInOptions = {},
  overrides: OAuthClientOptions = {},
): Promise<SignedIn> {
  const ready = await signedIn(options, overrides)
  await ready.session.fetch(PING)
  return ready
}

export function setNonceMode(network: FakeNetwork, mode: NonceMode): void {
  network.as.nonces.mode = mode
  network.pds.world.nonces(PDS).mode = mode
}

/** Requests that were answered with tokens, nonce challenges left out. */
export function refreshes(network: FakeNetwork): number {
  return network.count({ ...at.refresh, where: ({ response }) => response?.status === 200 })
}

/** Sets the device's clock, and leaves that of the servers. */
export function moveDeviceClock(network: FakeNetwork, ms: number, skewSoFar = 0): void {
  network.clock.advance(ms)
  network.clockSkew(skewSoFar - ms)
}

/** Everything a client reports from now on. */
export function record(client: OAuthClient): { sessions: SessionEvent[]; diagnostics: DiagnosticEvent[] } {
  const sessions: SessionEvent[] = []
  const diagnostics: DiagnosticEvent[] = []
  client.on('session', (event) => sessions.push(event))
  client.on('diagnostic', (event) => diagnostics.push(event))
  return { sessions, diagnostics }
}

/** Resolves as soon as the client's snapshot is as described. */
export function until(
  client: OAuthClient,
  holds: (snapshot: ReturnType<OAuthClient['getSnapshot']>) => boolean,
): Promise<void> {
  return new Promise((resolve) => {
    let stop: (() => void) | undefined
    let done = false
    stop = client.subscribe((snapshot) => {
      if (done || !holds(snapshot)) return
      done = true
      stop?.()
      resolve()
    })
    if (done) stop()
  })
}
