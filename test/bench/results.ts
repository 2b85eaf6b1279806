import type { Sizes } from '../package/sizes.ts'
import type { ContenderName } from './contenders.ts'
import type { Requests } from './requests.ts'
import type { Rounds } from './rounds.ts'
import type { Survival, Tabs } from './survival.ts'

/** What one client came to. */
export interface Result {
  version: string
  rounds: Rounds
  requests: Requests
  tabs: Tabs
  /** Far more than people have open. */
  manyTabs: Tabs
  reload: Survival
  /** With what keeps a refresh going when its page is gone; `undefined`: the client has none. */
  reloadGuarded: Survival | undefined
  /** Who is signed in when Alice was asked for and the server signs in Bob. */
  otherAccount: 'Bob' | 'nobody'
  /** On devices whose clocks are hours off. */
  clock: Survival
  /** Whether a script on the page could read the private key. */
  readableKey: boolean
  /** What comes of making a client in Node. */
  server: string
  bytes: Sizes
}

export interface Results {
  /** Day of the run, ISO 8601. */
  date: string
  browser: string
  pds: string
  clients: Record<ContenderName, Result>
}

export interface Row {
  label: string
  cell(result: Result): string
}

const number = (value: number | undefined) => (value === undefined ? '–' : String(value))
const kilobytes = (bytes: number) => `${(bytes / 1000).toFixed(1)} kB`
const yesOrNo = (value: boolean) => (value ? 'yes' : 'no')
const survival = (of: Survival | undefined) => (of ? `${of.survived} of ${of.runs}` : '–')
const range = (values: readonly number[]) =>
  [...new Set([Math.min(...values), Math.max(...values)])].join('–')
/** Two digits are more than a machine repeats. */
const ratio = (value: number) => (value < 10 ? value.toFixed(1) : Math.round(value).toString())

/** The table, top to bottom. */
export function rows({ clients }: Results): Row[] {
  const { tabs, manyTabs } = clients.signet
  return [
    { label: 'Rounds, click to sign-in page', cell: ({ rounds }) => number(rounds.signIn) },
    { label: 'Rounds, the same after prefetch()', cell: ({ rounds }) => number(rounds.signInPrefetched) },
    { label: 'Rounds, callback to session', cell: ({ rounds }) => number(rounds.callback) },
    {
      label: 'Rounds, page load to first answer, browser just started',
      cell: ({ rounds }) => number(rounds.firstAnswer),
    },
    {
      label: 'Rounds, the same with nonces and metadata out of date',
      cell: ({ rounds }) => number(rounds.firstAnswerLater),
    },
    { label: 'Rounds, the same with an expired token, too', cell: ({ rounds }) => number(rounds.expired) },
    {
      label: 'Rounds, token refresh, preflight not cached',
      cell: ({ rounds }) => number(rounds.refreshCold),
    },
    { label: 'Rounds, token refresh, preflight cached', cell: ({ rounds }) => number(rounds.refreshWarm) },
    {
      label: 'Client time per request, in bare signatures',
      cell: ({ requests }) => `${ratio(requests.signaturesPerRequest)} ×`,
    },
    {
      label: '500 requests at once, throughput against bare signatures',
      cell: ({ requests }) => `${Math.round(requests.throughput * 100)} %`,
    },
    {
      label: `${tabs.tabs} tabs wake with one expired token, session survives`,
      cell: (result) => survival(result.tabs),
    },
    { label: 'Token requests in that', cell: (result) => range(result.tabs.tokenRequests) },
    { label: `The same with ${manyTabs.tabs} tabs`, cell: (result) => survival(result.manyTabs) },
    { label: 'Page reloaded in mid-refresh, session survives', cell: ({ reload }) => survival(reload) },
    { label: 'The same with the refresh guard', cell: ({ reloadGuarded }) => survival(reloadGuarded) },
    { label: 'Works on devices whose clocks are 5 hours off', cell: ({ clock }) => survival(clock) },
    { label: 'Private key can be read by a script', cell: ({ readableKey }) => yesOrNo(readableKey) },
    { label: 'Token sent to a foreign URL', cell: ({ requests }) => yesOrNo(requests.tokenSentElsewhere) },
    { label: 'Asked for Alice, server answers Bob: signed in is', cell: ({ otherAccount }) => otherAccount },
    { label: 'Client made in Node, to render on a server', cell: ({ server }) => server },
    { label: 'Bytes, all of it', cell: ({ bytes }) => kilobytes(bytes.whole) },
    { label: 'Bytes, page that restores a session', cell: ({ bytes }) => kilobytes(bytes.restore) },
  ]
}
