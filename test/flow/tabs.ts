import 'fake-indexeddb/auto'
import { openDB } from 'idb'
import type { OAuthClient, OAuthClientOptions, Session } from '../../src/index.ts'
import { createTestClient, signInTo } from '../support/client.ts'
import {
  ALICE,
  CLIENT_ID,
  createFakeNetwork,
  type FakeNetwork,
  type FakeNetworkOptions,
} from '../support/network.ts'

type Store = 'sessions' | 'authorizations' | 'nonces' | 'settings'

/** A page of the app: what it stores is shared with all pages of the same namespace. */
export interface Tab {
  client: OAuthClient
  session: Session
}

export interface Browser {
  network: FakeNetwork
  namespace: string
  /** A page on which nothing has happened yet. */
  openClient(overrides?: OAuthClientOptions): OAuthClient
  /** A page that has brought back the account in use. */
  openTab(overrides?: OAuthClientOptions): Promise<Tab>
  openTabs(count: number): Promise<Tab[]>
}

/** A browser profile of its own, with nobody signed in. */
export function createBrowser(network: FakeNetwork, namespace: string = crypto.randomUUID()): Browser {
  const openClient = (overrides: OAuthClientOptions = {}) =>
    createTestClient(network, { storage: 'auto', namespace, ...overrides })
  const openTab = async (overrides: OAuthClientOptions = {}) => {
    const client = openClient(overrides)
    const session = await client.initialize()
    if (!session) throw new Error('Nobody is signed in')
    return { client, session }
  }
  const openTabs = async (count: number) => {
    const tabs: Tab[] = []
    for (let tab = 0; tab < count; tab++) tabs.push(await openTab())
    return tabs
  }
  return { network, namespace, openClient, openTab, openTabs }
}

/** A browser in which ALICE is signed in, in its first tab. */
export async function signedInBrowser(options: FakeNetworkOptions = {}): Promise<Browser & Tab> {
  const browser = createBrowser(createFakeNetwork(options))
  const client = browser.openClient()
  await client.initialize()
  const session = await signInTo(browser.network, client, ALICE.handle)
  return { ...browser, client, session }
}

export interface Row {
  version: number
  // biome-ignore lint/suspicious/noExplicitAny: a test reaches into whatever was stored
  record?: any
  signedOutAt?: number
}

/** Under which a client of the test app keeps an account's session. */
export const rowKey = (did: string, clientId: string = CLIENT_ID): string => `${did} ${clientId}`

export async function readAll(namespace: string, store: Store): Promise<[key: string, value: unknown][]> {
  const db = await openDB(`signet:${namespace}`)
  try {
    const [keys, values] = await Promise.all([db.getAllKeys(store), db.getAll(store)])
    return keys.map((key, index) => [String(key), values[index]])
  } finally {
    db.close()
  }
}

export async function readRow(namespace: string, did: string): Promise<Row | undefined> {
  const rows = await readAll(namespace, 'sessions')
  return rows.find(([key]) => key === rowKey(did))?.[1] as Row | undefined
}

export async function removeRow(namespace: string, did: string): Promise<void> {
  const db = await openDB(`signet:${namespace}`)
  await db.delete('sessions', rowKey(did))
  db.close()
}

/** Writes behind the client's back, as another script of the origin could. */
export async function write(namespace: string, store: Store, key: string, value: unknown): Promise<void> {
  const db = await openDB(`signet:${namespace}`)
  await db.put(store, value, key)
  db.close()
}

/** Alters a stored session. */
export async function editRow(namespace: string, did: string, change: (row: Row) => unknown): Promise<void> {
  const row = await readRow(namespace, did)
  if (!row) throw new Error(`Nothing is stored for ${did}`)
  await write(namespace, 'sessions', rowKey(did), change(row) ?? row)
}
