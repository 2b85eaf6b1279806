import type { PendingAuthorization } from '../types.ts'
import type { Storage } from './database.ts'

/** Pages of a sign-in may be looked at for a while; a reference server gives up after 15 minutes without a reload. */
const AUTHORIZATION_TTL_MS = 3_600_000
const MAX_PENDING = 8

/** Saves what the callback will need. On disk when the promise resolves. */
export async function savePendingAuthorization(
  storage: Storage,
  pending: PendingAuthorization,
): Promise<void> {
  await sweepAuthorizations(storage, pending.createdAt, MAX_PENDING - 1)
  await storage.update('authorizations', pending.state, () => pending)
}

export async function loadPendingAuthorization(
  storage: Storage,
  state: string,
): Promise<PendingAuthorization | undefined> {
  return parsePending(await storage.get('authorizations', state))
}

/** Reads and deletes in one transaction: of two tabs with the same callback, one gets the record. */
export async function takePendingAuthorization(
  storage: Storage,
  state: string,
): Promise<PendingAuthorization | undefined> {
  return parsePending(await storage.update('authorizations', state, () => undefined))
}

/** Deletes what has expired, then the oldest beyond `keep`: the records hold keys and verifiers. */
export async function sweepAuthorizations(
  storage: Storage,
  now: number,
  keep: number = MAX_PENDING,
): Promise<void> {
  const age = (value: unknown) => now - (parsePending(value)?.createdAt ?? Number.NEGATIVE_INFINITY)
  const byAge = (await storage.entries('authorizations')).sort(([, a], [, b]) => age(a) - age(b))
  const dead = byAge.filter(([, value], index) => index >= keep || isExpired(age(value)))
  if (dead.length)
    await storage.remove(
      'authorizations',
      dead.map(([state]) => state),
    )
}

/** A clock that was set back must not keep a record for ever. */
export function isExpired(ageMs: number): boolean {
  return Math.abs(ageMs) > AUTHORIZATION_TTL_MS
}

function parsePending(value: unknown): PendingAuthorization | undefined {
  const pending = Object(value) as PendingAuthorization
  const { createdAt, codeVerifier, redirectUri, dpopKey, server } = pending
  const usable =
    Number.isFinite(createdAt) &&
    typeof codeVerifier === 'string' &&
    String(dpopKey?.privateKey) === '[object CryptoKey]' &&
    [redirectUri, server?.pushedAuthorizationRequestEndpoint].every((url) => URL.canParse(url))
  return usable ? pending : undefined
}
