import { parsePartyUrl } from '../http.ts'
import type { SessionRecord } from '../types.ts'
import type { Storage } from './database.ts'

const RECORD_VERSION = 1
/** How long a signed-out account is remembered as such, for tabs that were refreshing it at that moment. */
const SIGNED_OUT_TTL_MS = 3_600_000

/** A row of the store: records of other versions are left alone. */
type Row = { version: number; record?: SessionRecord; signedOutAt?: number }

/** What is stored for an account. */
export type StoredSession = SessionRecord | 'signed_out' | undefined

export async function loadSession(storage: Storage, did: string, allowHttp: boolean): Promise<StoredSession> {
  return parseRow(await storage.get('sessions', did), did, allowHttp)
}

/**
 * All sessions, in the order in which people signed in. A record that cannot be used is removed and reported, once;
 * what is left of signed-out accounts is swept.
 */
export async function loadSessions(
  storage: Storage,
  allowHttp: boolean,
  now: number,
  onUnreadable: (did: string) => void,
): Promise<SessionRecord[]> {
  const records: SessionRecord[] = []
  for (const [did, value] of await storage.entries('sessions')) {
    const stored = parseRow(value, did, allowHttp)
    if (typeof stored === 'object') records.push(stored)
    else if (stored === undefined && !(Object(value).version > RECORD_VERSION)) {
      await storage.update('sessions', did, () => undefined)
      onUnreadable(did)
    } else if (stored === 'signed_out' && now - Number((value as Row).signedOutAt) > SIGNED_OUT_TTL_MS) {
      await storage.update('sessions', did, () => undefined)
    }
  }
  return records.sort((a, b) => a.createdAt - b.createdAt)
}

/**
 * Replaces what is stored for an account, in one transaction. `change` is given what is there and returns the record
 * to write, `'signed_out'`, or `undefined` to leave everything as it is. A written record's generation is set here.
 *
 * @returns What was stored before, and what is stored now.
 */
export async function updateSession(
  storage: Storage,
  did: string,
  allowHttp: boolean,
  now: number,
  change: (current: StoredSession) => StoredSession,
): Promise<{ before: StoredSession; after: StoredSession }> {
  let before: StoredSession
  let after: StoredSession
  await storage.update('sessions', did, (value) => {
    before = after = parseRow(value, did, allowHttp)
    const next = change(before)
    if (next === undefined || next === before) return value
    if (next === 'signed_out') {
      after = next
      return { version: RECORD_VERSION, signedOutAt: now } satisfies Row
    }
    const generation = Math.max(next.generation, typeof before === 'object' ? before.generation : 0) + 1
    after = { ...next, generation }
    return { version: RECORD_VERSION, record: after } satisfies Row
  })
  return { before, after }
}

/** Storage is shared with every script of the origin: what is read is checked again before a token is sent anywhere. */
function parseRow(value: unknown, did: string, allowHttp: boolean): StoredSession {
  const { version, record, signedOutAt } = Object(value) as Partial<Row>
  if (version !== RECORD_VERSION) return undefined
  if (typeof signedOutAt === 'number') return 'signed_out'
  const { server, tokens, dpopKey, pds } = Object(record) as Partial<SessionRecord>
  const usable =
    record?.did === did &&
    [pds, server?.issuer, server?.tokenEndpoint].every((url) => parsePartyUrl(url, allowHttp)) &&
    typeof tokens?.accessToken === 'string' &&
    typeof record.generation === 'number' &&
    Object.prototype.toString.call(dpopKey?.privateKey) === '[object CryptoKey]' &&
    dpopKey?.privateKey.extractable === false
  return usable ? record : undefined
}
