/** A clock that moves only when told to. Pass `clock.now` to the client as its `now` option. */
export interface Clock {
  /** Milliseconds since the epoch. Bound: may be handed over as it is. */
  readonly now: () => number
  advance(ms: number): void
  set(ms: number): void
}

export const START_OF_TIME: number = Date.UTC(2026, 9, 5, 12, 0, 0)

export function createClock(start: number = START_OF_TIME): Clock {
  let current = start
  return {
    now: () => current,
    advance(ms) {
      current += ms
    },
    set(ms) {
      current = ms
    },
  }
}
