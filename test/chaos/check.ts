import type { LogEntry } from '../network/network.ts'

/** What a schedule did that explains what the server saw, for one account. Times as in the network's log. */
export interface Deeds {
  guarded: boolean
  /** Whether an access token may have come to its end. */
  expired: boolean
  /** How often the app asked for a refresh itself. */
  asked: number
  signedOut: boolean
  /** When the storage was deleted. */
  forgotten: number[]
  /** When tabs were reloaded or closed. */
  gone: number[]
}

/** How an account stands when all is over: its status in every tab, and whether the server still serves it. */
export interface Verdict {
  statuses: (string | undefined)[]
  served: boolean
  /** What the last refresh failed with. */
  code: string | undefined
}

/** A page that goes may take with it an answer this old, and leave behind a request that arrives this late. */
const GOING_MS = 3_000

const print = (entries: readonly LogEntry[]) =>
  entries.map(({ start, end, outcome, status }) => {
    const ms = [start, end].map((at) => at && Math.round(at % 1e6))
    return `[${ms.join('–')} ${outcome} ${status}]`
  })

/** What is wrong with the token requests of one account, and with how it ended. */
export function findFaults(log: readonly LogEntry[], deeds: Deeds, verdict: Verdict): string[] {
  const faults: string[] = []
  const refreshes = log.filter(({ grantType }) => grantType === 'refresh_token')
  const isLost = ({ outcome, status = 0 }: LogEntry) => outcome !== 'answered' || status >= 500
  /** Whether the answer may have reached a page that could do nothing with it any more. */
  const mayBeWasted = ({ start, end = Number.POSITIVE_INFINITY }: LogEntry) =>
    !deeds.guarded && deeds.gone.some((at) => at >= start - GOING_MS && at <= end + GOING_MS)
  const isForgotten = deeds.forgotten.length > 0

  for (const [hash, sent] of Map.groupBy(refreshes, (entry) => entry.refreshTokenHash)) {
    sent.forEach((earlier, index) => {
      const later = sent[index + 1]
      if (!later || isForgotten) return
      if (later.start < (earlier.end ?? Number.POSITIVE_INFINITY))
        faults.push(`${hash} was sent while an answer to it was on its way`)
      else if (earlier.outcome === 'answered' && earlier.status === 200 && !mayBeWasted(earlier))
        faults.push(`${hash} was sent again although its answer had come`)
    })
    // A nonce and a clock may each be refused once, the token itself once.
    if (sent.filter(({ status }) => status === 400).length > 3 && !isForgotten)
      faults.push(`${hash} was sent on although it was refused`)
  }

  const sends = refreshes.filter(({ status }) => status !== 400)
  const refused = log.filter(({ path, status }) => path.startsWith('/xrpc/') && status === 401)
  if (!deeds.expired && sends.length > deeds.asked + refused.length)
    faults.push(`${sends.length} refreshes for ${deeds.asked} that were asked for`)

  const { statuses, served, code } = verdict
  const known = statuses.filter((status) => status !== undefined)
  if (deeds.signedOut) {
    if (known.length > 0 && !isForgotten) faults.push(`signed out, and still there: ${statuses}`)
  } else if (!served && !isForgotten) {
    if (code !== 'session_ended' || known.length === 0) faults.push(`lost: ${statuses}, ${code}`)
    if (!refreshes.some(({ status }) => status === 400)) faults.push('ended by nobody')
    if (!refreshes.some((entry) => isLost(entry) || mayBeWasted(entry)))
      faults.push(`ended although every answer came: ${statuses}, ${code}`)
  }
  if (faults.length > 0)
    faults.push(
      `refreshes ${print(refreshes)}, ${JSON.stringify({ ...deeds, gone: deeds.gone.map((at) => Math.round(at % 1e6)) })}`,
    )
  return faults
}
