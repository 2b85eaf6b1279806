import { parseOrigin, parsePartyUrl } from '../http.ts'
import type { AuthorizationServer, PublicJwk, SessionRecord, TokenSet } from '../types.ts'
import type { Storage } from './database.ts'

const VERSION = 1
/** Rows that are no use and are deleted at one start: each takes a transaction. */
const MAX_SWEPT = 64
/** A signed-out account is remembered as such for longer than a session lives: a tab may sleep that long. */
const SIGNED_OUT_TTL_MS = 15 * 86_400_000

/** A row of the store. Those of other versions are left alone. */
interface Row {
  version: number
  record?: SessionRecord
  signedOutAt?: number
}

/** What is stored for an account. */
export type StoredSession = SessionRecord | 'signed_out' | undefined

export interface SessionStore {
  load(did: string): Promise<StoredSession>
  /**
   * All sessions, in the order in which people signed in. What is left of signed-out accounts is swept; a record that
   * cannot be used is removed and reported, once.
   */
  loadAll(onUnreadable: (did: string) => void): Promise<SessionRecord[]>
  /**
   * Replaces what is stored for an account, in one transaction. `change` is given what is there and returns the record
   * to write, `'signed_out'`, or `undefined` to leave everything as it is. The generation is set here.
   *
   * @returns What was stored before, and what is stored now.
   */
  update(
    did: string,
    change: (current: StoredSession) => StoredSession,
  ): Promise<{ before: StoredSession; after: StoredSession }>
  /** Leaves no mark: other tabs may write the session anew. */
  remove(did: string): Promise<void>
}

/** Whether the URLs that tokens and codes go to are still ones that may have been discovered. */
export function isUsableServer(server: AuthorizationServer | undefined, allowHttp: boolean): boolean {
  const {
    issuer,
    tokenEndpoint,
    revocationEndpoint = issuer,
  } = Object(server) as Partial<AuthorizationServer>
  return [issuer, tokenEndpoint, revocationEndpoint].every((url) => parsePartyUrl(url, allowHttp))
}

export function createSessionStore(
  storage: Storage,
  { clientId, allowHttp, now }: { clientId: string; allowHttp: boolean; now: () => number },
): SessionStore {
  /** Clients that share a namespace have rows of their own. */
  const suffix = ` ${clientId}`

  /** Storage is shared with every script of the origin: what is read is checked again before a token goes anywhere. */
  function parse(value: unknown, did: string): StoredSession {
    const { version, record } = Object(value) as Partial<Row>
    // What a newer version of this package has stored is nothing this one may use or replace by itself.
    if (Number(version) > VERSION || Object.hasOwn(Object(value), 'signedOutAt')) return 'signed_out'
    if (version !== VERSION) return undefined
    const {
      server,
      tokens,
      dpopKey,
      pds,
      handle = '',
      movedTo = '',
      ended,
      ...own
    } = Object(record) as SessionRecord
    const { accessToken, scope, issuedAt, expiresAt = 0 } = Object(tokens) as TokenSet
    const { at = 0, count = 0, retryAt = 0 } = own.refreshAttempt ?? {}
    const { x, y } = Object(dpopKey?.publicJwk) as PublicJwk
    const texts = [accessToken, scope, x, y, handle, movedTo]
    const numbers = [
      own.generation,
      own.createdAt,
      own.lastUsedAt,
      own.verifiedAt,
      issuedAt,
      expiresAt,
      at,
      count,
      retryAt,
    ]
    const usable =
      record?.did === did &&
      record.clientId === clientId &&
      parseOrigin(pds, allowHttp) &&
      isUsableServer(server, allowHttp) &&
      texts.every((text) => typeof text === 'string') &&
      numbers.every(Number.isFinite) &&
      [undefined, 'expired', 'revoked', 'moved', 'rotation_lost'].includes(ended) &&
      String(dpopKey?.privateKey) === '[object CryptoKey]' &&
      !dpopKey?.privateKey.extractable
    return usable ? record : undefined
  }

  return {
    load: async (did) => parse(await storage.get('sessions', did + suffix), did),
    async loadAll(onUnreadable) {
      const records: SessionRecord[] = []
      let swept = 0
      for (const [key, value] of await storage.entries('sessions')) {
        if (!key.endsWith(suffix)) continue
        const did = key.slice(0, -suffix.length)
        const { version, signedOutAt } = Object(value) as Partial<Row>
        const stored = parse(value, did)
        if (typeof stored === 'object') records.push(stored)
        // What holds a key comes out as null in WebKit's shared workers: it is not theirs to remove.
        else if (value === null) onUnreadable(did)
        else if (Number(version) > VERSION || now() - Number(signedOutAt) < SIGNED_OUT_TTL_MS) continue
        else if (swept++ < MAX_SWEPT) {
          // Somebody may have signed in since; a storage that is full keeps it, and nothing depends on that.
          await storage
            .update('sessions', key, (current) => {
              const isSame = (Object(current) as Partial<Row>).signedOutAt === signedOutAt
              return isSame && parse(current, did) === stored ? undefined : current
            })
            .catch(() => {})
          if (!stored) onUnreadable(did)
        }
      }
      return records.sort((a, b) => a.createdAt - b.createdAt)
    },
    async update(did, change) {
      let before: StoredSession
      let after: StoredSession
      await storage.update('sessions', did + suffix, (value) => {
        before = parse(value, did)
        after = change(before) ?? before
        if (after === before) return value
        if (after === 'signed_out') return { version: VERSION, signedOutAt: now() } satisfies Row
        const { generation } = Object(before) as Partial<SessionRecord>
        const record = after as SessionRecord
        after = { ...record, generation: Math.max(record.generation, generation ?? 0) + 1 }
        return { version: VERSION, record: after } satisfies Row
      })
      return { before, after }
    },
    remove: (did) => storage.remove('sessions', [did + suffix]),
  }
}
