/** One thing that happens to an app in use. Tabs and accounts are counted round: tab 7 of 3 is tab 1. */
export type Action =
  | { does: 'request' | 'refresh' | 'signOut' | 'switch'; tab: number; account: number }
  | { does: 'refreshEverywhere'; account: number }
  | { does: 'reload' | 'close' | 'forget'; tab: number }
  | { does: 'open' | 'online' }
  | { does: 'fault'; kind: FaultKind; on: 'refresh' | 'request' }
  | { does: 'offline'; account: number }
  /** Ends the holds that there are. */
  | { does: 'settle'; how: 'release' | 'drop' }
  | { does: 'jump'; ms: number }
  /** Of the access tokens issued from now on. */
  | { does: 'lifetime'; seconds: number }
  | { does: 'pause'; ms: number }

export type FaultKind = 'hold' | 'dropBefore' | 'dropAfter' | 'serverError' | 'tooManyRequests'

export interface Schedule {
  readonly seed: number
  /** Whether a service worker guards refreshes. */
  readonly guarded: boolean
  readonly accounts: 1 | 2
  readonly tabs: number
  /** Of the servers, milliseconds: what happens at the same time has to meet. */
  readonly latency: number
  readonly actions: readonly Action[]
}

/** The same schedule for the same seed, on every machine. */
export function makeSchedule(seed: number): Schedule {
  const random = generator(seed)
  const below = (limit: number) => Math.floor(random() * limit)
  const one = <T>(...choices: readonly T[]) => choices[below(choices.length)] as T
  const guarded = random() < 0.4
  const accounts = one(1, 1, 2)
  const tabs = 1 + below(3)
  const latency = one(0, 100, 300)
  const pick = (): Action => {
    const [tab, account] = [below(4), below(accounts)]
    const roll = below(100)
    if (roll < 14) return { does: 'request', tab, account }
    if (roll < 28) return { does: 'refresh', tab, account }
    if (roll < 40) return { does: 'refreshEverywhere', account }
    if (roll < 51) return { does: 'reload', tab }
    if (roll < 56) return { does: 'close', tab }
    if (roll < 60) return { does: 'open' }
    if (roll < 78) {
      const kind = one<FaultKind>(
        'hold',
        'hold',
        'hold',
        'dropBefore',
        'dropAfter',
        'serverError',
        'tooManyRequests',
      )
      return { does: 'fault', kind, on: kind === 'hold' ? 'refresh' : one('refresh', 'refresh', 'request') }
    }
    if (roll < 84) return { does: 'settle', how: one('release', 'release', 'drop') }
    if (roll < 87) return { does: 'offline', account }
    if (roll < 90) return { does: 'online' }
    if (roll < 92) return { does: 'signOut', tab, account }
    if (roll < 94) return { does: 'switch', tab, account }
    // The clock of a service worker cannot be moved.
    if (roll < 96 && !guarded) {
      return { does: 'jump', ms: one(-3_600_000, 60_000, 7_200_000) }
    }
    if (roll < 97) return { does: 'forget', tab }
    return { does: 'lifetime', seconds: one(2, 3600) }
  }
  const actions: Action[] = []
  for (let left = 10 + below(12); left > 0; left--) {
    actions.push(pick())
    if (random() < 0.4) actions.push({ does: 'pause', ms: below(250) })
  }
  return { seed, guarded, accounts, tabs, latency, actions }
}

export function printSchedule({ actions, ...how }: Schedule): string {
  const lines = actions.map(({ does, ...details }) => `  ${does} ${JSON.stringify(details)}`)
  return [JSON.stringify(how), ...lines].join('\n')
}

/** Mulberry32: small, and good enough to pick by. */
function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
