import type { Answer } from './exchange.ts'
import { countRounds, type LogEntry, type Match, type Party, type WaitOptions } from './log.ts'
import type { Account, ListedRecord } from './servers.ts'
import type { SignInAnswers } from './sign-in-page.ts'
import type { Fault, Rule } from './traffic.ts'

export type { Account, Answer, ListedRecord, LogEntry, Match, Party, SignInAnswers, WaitOptions }
export { countRounds }

/** How many matching requests a rule applies to. Default 1. */
export interface RuleOptions {
  times?: number | 'always'
}

export interface ActiveFault {
  remove(): Promise<void>
}

export interface Hold {
  /** The first request held: its server has processed it, its client is still waiting. */
  held: Promise<LogEntry>
  /** Lets every held answer go, and stops holding. */
  release(): Promise<void>
  /** Breaks the connections instead. */
  drop(): Promise<void>
}

/** A PLC directory and two PDSes on loopback, their log, and ways to break them. */
export interface ConnectedNetwork {
  readonly origins: Readonly<Record<Party, string>>
  /** alice.test and bob.test on the first PDS, carol.test on the second; the password of each is `<name>-password`. */
  readonly accounts: readonly Account[]
  /** URL that {@link connectNetwork} takes, in any process or page on this machine. */
  readonly control: string

  readonly log: {
    entries(match?: Match): Promise<LogEntry[]>
    clear(): Promise<void>
    /** {@link countRounds} of the matching entries; by default of all, preflights included. */
    rounds(match?: Match): Promise<number>
    /** Resolves with the matching entries since the last `clear()` once there are enough. */
    waitFor(match: Match, options?: WaitOptions): Promise<LogEntry[]>
  }

  /** Added to every request before its server gets it. */
  setLatency(milliseconds: number, party?: Party): Promise<void>
  /** Lets the server process the request and keeps its answer back. */
  hold(match: Match, options?: RuleOptions): Promise<Hold>
  /**
   * The connection breaks before the server gets the request. Firefox sends a GET that fails so up to ten times, every
   * browser a POST only once.
   */
  dropBefore(match: Match, options?: RuleOptions): Promise<ActiveFault>
  /** The server processes the request, the connection breaks before the answer. */
  dropAfter(match: Match, options?: RuleOptions): Promise<ActiveFault>
  /** Gives this answer instead of asking the server. CORS headers are added. */
  answer(match: Match, answer: Answer, options?: RuleOptions): Promise<ActiveFault>
  /** Changes members of a JSON answer (JSON Merge Patch of the top level: `null` removes). */
  rewriteJson(match: Match, patch: Record<string, unknown>, options?: RuleOptions): Promise<ActiveFault>
  /** Breaks every connection to that server, or to all, until removed. */
  offline(party?: Party): Promise<ActiveFault>
  /**
   * How long the access tokens issued from now on live at the PDSes, 3600 seconds at first. Below 0.3 it is as if every
   * session had reached its end: a refresh is answered with `invalid_grant`.
   */
  setTokenLifetime(seconds: number): Promise<void>

  /**
   * Signs in at an authorization URL as a person would, without a browser: for tests whose page cannot leave.
   * Returns the callback URL. `handle` is needed even if there was a `login_hint`.
   */
  authorize(url: string, answers: SignInAnswers & { handle: string }): Promise<string>
  createAccount(handle: string, pdsIndex: 0 | 1): Promise<Account>
  /** Migrates the account with its repository to the other PDS: new PDS in the DID document, deactivated on the old. */
  moveAccount(did: string): Promise<Account>
  listRecords(did: string, collection: string): Promise<ListedRecord[]>
}

export interface Network extends ConnectedNetwork {
  /** Ends the network and removes its data. */
  stop(): Promise<void>
}

/** What crosses to the process of the network: plain data, both ways. */
export interface Operations {
  describe(): Pick<Network, 'origins' | 'accounts'>
  entries(match: Match): LogEntry[]
  clear(): void
  waitFor(match: Match, options: Required<WaitOptions>): Promise<LogEntry[]>
  setLatency(milliseconds: number, parties: Party[]): void
  addRule(rule: Rule): number
  settleRule(id: number, how: 'release' | 'drop'): void
  held(id: number): Promise<LogEntry>
  setTokenLifetime(seconds: number): void
  authorize(url: string, answers: SignInAnswers): Promise<string>
  createAccount(handle: string, pdsIndex: 0 | 1): Promise<Account>
  moveAccount(did: string): Promise<Account>
  listRecords(did: string, collection: string): Promise<ListedRecord[]>
}

export type Call = <K extends keyof Operations>(
  operation: K,
  ...args: Parameters<Operations[K]>
) => Promise<Awaited<ReturnType<Operations[K]>>>

const everything: Match = { preflight: 'any' }

/** The network whose operations `call` reaches. */
export async function networkOver(call: Call, control: string): Promise<ConnectedNetwork> {
  const { origins, accounts } = await call('describe')

  async function fault(match: Match, fault: Fault, { times = 1 }: RuleOptions = {}): Promise<ActiveFault> {
    const id = await call('addRule', { ...fault, match, times })
    return { remove: () => call('settleRule', id, 'release') }
  }

  return {
    origins,
    accounts,
    control,
    log: {
      entries: (match = everything) => call('entries', match),
      clear: () => call('clear'),
      rounds: async (match = everything) => countRounds(await call('entries', match)),
      waitFor: (match, { count = 1, phase = 'end', timeout = 10_000 } = {}) =>
        call('waitFor', match, { count, phase, timeout }),
    },
    setLatency: (milliseconds, party) =>
      call('setLatency', milliseconds, party ? [party] : ['plc', 'pds1', 'pds2']),
    async hold(match, { times = 1 } = {}) {
      const id = await call('addRule', { kind: 'hold', match, times })
      const held = call('held', id)
      // A test need not await it.
      held.catch(() => {})
      return {
        held,
        release: () => call('settleRule', id, 'release'),
        drop: () => call('settleRule', id, 'drop'),
      }
    },
    dropBefore: (match, options) => fault(match, { kind: 'dropBefore' }, options),
    dropAfter: (match, options) => fault(match, { kind: 'dropAfter' }, options),
    answer: (match, answer, options) => fault(match, { kind: 'answer', answer }, options),
    rewriteJson: (match, patch, options) => fault(match, { kind: 'rewriteJson', patch }, options),
    offline: (party) =>
      fault({ ...everything, ...(party && { party }) }, { kind: 'dropBefore' }, { times: 'always' }),
    setTokenLifetime: (seconds) => call('setTokenLifetime', seconds),
    authorize: (url, answers) => call('authorize', url, answers),
    createAccount: (handle, pdsIndex) => call('createAccount', handle, pdsIndex),
    moveAccount: (did) => call('moveAccount', did),
    listRecords: (did, collection) => call('listRecords', did, collection),
  }
}

/** Reaches a network by its `control` URL. Works in a page, too. */
export function connectNetwork(control: string): Promise<ConnectedNetwork> {
  return networkOver(async (operation, ...args) => {
    const response = await fetch(control, { method: 'POST', body: JSON.stringify({ operation, args }) })
    const { result, error } = await response.json()
    if (error !== undefined) throw new Error(error)
    return result
  }, control)
}
