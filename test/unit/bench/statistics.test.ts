import { describe, expect, test } from 'vitest'
import { leastRounds, type Rounds } from '../../bench/rounds.ts'
import { median } from '../../bench/statistics.ts'

describe('the median', () => {
  test.each([
    ['of one is that one', [7], 7],
    ['of an odd number is the middle one, by size and not by digits', [10, 9, 100], 10],
    ['of an even number is between the middle two', [4, 1, 3, 100], 3.5],
  ])('%s', (_, values, expected) => {
    expect(median(values)).toBe(expected)
  })

  test('does not exist of nothing', () => {
    expect(() => median([])).toThrow(RangeError)
  })

  test('leaves the order of what it is given', () => {
    const values = [3, 1, 2]
    median(values)
    expect(values).toEqual([3, 1, 2])
  })
})

describe('the least rounds', () => {
  const rounds = (over: Partial<Rounds>): Rounds => ({
    signIn: 4,
    signInPrefetched: 1,
    callback: 2,
    firstAnswer: 2,
    firstAnswerLater: 3,
    refreshCold: 2,
    refreshWarm: 1,
    expired: 5,
    ...over,
  })

  test('are picked stage by stage', () => {
    const runs = [
      rounds({ signIn: 10, expired: 5 }),
      rounds({ signIn: 9, expired: 6 }),
      rounds({ signIn: 11 }),
    ]
    expect(leastRounds(runs)).toEqual(rounds({ signIn: 9, expired: 5 }))
  })

  test('stay missing where a client has no such stage', () => {
    const none = rounds({ signInPrefetched: undefined })
    expect(leastRounds([none, none])).toEqual(none)
  })
})
