import { setTimeout } from 'node:timers/promises'
import type { Contender } from './contenders.ts'
import { PATH, request, roundsOf, type Stage, type Visitor, withVisitor } from './visitor.ts'

/** Sequential network round trips, CORS preflights included. */
export interface Rounds {
  /** From the click to the URL of the sign-in page. */
  signIn: number
  signInPrefetched: number | undefined
  /** From the page that the sign-in comes back to, to the session. */
  callback: number
  /** From a page load in a browser just started to the answer of the first request. */
  firstAnswer: number
  /** The same when what clients keep for some minutes is out of date: metadata and nonces. */
  firstAnswerLater: number
  refreshCold: number
  refreshWarm: number
  /** Like `firstAnswerLater`, when the access token has expired, too. */
  expired: number
}

/** Long enough that requests sent together overlap. */
const LATENCY_MS = 40

export async function measureRounds(stage: Stage, contender: Contender): Promise<Rounds> {
  await stage.network.setLatency(LATENCY_MS)
  try {
    return await withVisitor(stage, contender, (visitor) => takeRounds(stage, visitor), {
      restarts: true,
    })
  } finally {
    await stage.network.setLatency(0)
  }
}

async function takeRounds(stage: Stage, visitor: Visitor): Promise<Rounds> {
  const { network, alice } = stage
  const authorize = () => visitor.page.eval((handle) => window.bench.authorize(handle), alice.handle)
  const refresh = () => visitor.page.eval(async () => void (await window.bench.refresh()))
  const firstAnswer = async () => {
    await visitor.open()
    await visitor.page.eval(async (path) => {
      await window.bench.start()
      const { status } = await window.bench.request(path)
      if (status !== 200) throw new Error(`The server answered ${status}`)
    }, PATH)
  }

  await visitor.open()
  let url = ''
  const signIn = await roundsOf(stage, async () => {
    url = await authorize()
  })
  const answer = await network.authorize(url, alice)
  const callback = await roundsOf(stage, async () => {
    await visitor.open(answer)
    await visitor.page.eval(() => window.bench.start())
  })

  // As an app would, which has a first nonce of its server then.
  await request(visitor.page)
  await visitor.restart()
  const soon = await roundsOf(stage, firstAnswer)
  const refreshCold = await roundsOf(stage, refresh)
  const refreshWarm = await roundsOf(stage, refresh)

  await visitor.restart()
  await visitor.forgetCaches()
  const later = await roundsOf(stage, firstAnswer)

  await network.setTokenLifetime(2)
  await refresh()
  await network.setTokenLifetime(3600)
  await visitor.restart()
  await visitor.forgetCaches()
  await setTimeout(2_000)
  const expired = await roundsOf(stage, firstAnswer)

  let signInPrefetched: number | undefined
  await visitor.open()
  if (await visitor.page.eval(() => window.bench.prefetch !== undefined)) {
    await visitor.page.eval((handle) => window.bench.prefetch?.(handle), alice.handle)
    signInPrefetched = await roundsOf(stage, authorize)
  }

  return {
    signIn,
    signInPrefetched,
    callback,
    firstAnswer: soon,
    firstAnswerLater: later,
    refreshCold,
    refreshWarm,
    expired,
  }
}

/**
 * The least of several runs for each stage: requests that wait for each other never count as fewer rounds, those sent
 * together may count as more when the machine is busy.
 */
export function leastRounds(runs: readonly Rounds[]): Rounds {
  const least = (a: Rounds, b: Rounds): Rounds => {
    const stages = Object.keys(a) as (keyof Rounds)[]
    // A stage that a client does not have is missing in every run.
    const pick = (stage: keyof Rounds) => [stage, Number(a[stage]) > Number(b[stage]) ? b[stage] : a[stage]]
    return Object.fromEntries(stages.map(pick))
  }
  return runs.reduce(least)
}
