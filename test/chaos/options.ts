import { parseArgs } from 'node:util'
import { engines } from '../engines/index.ts'

/** `npm run chaos -- [--count 20] [--seed N] [--engine NAME]`: what of that reaches the tests. */
const given = process.env.SIGNET_CHAOS
const { seed, count, engine } = parseArgs({
  args: given?.split(' ').filter(Boolean) ?? ['--seed', '1', '--count', '3'],
  options: { seed: { type: 'string' }, count: { type: 'string' }, engine: { type: 'string' } },
}).values

const first = Number(seed ?? Date.now() % 1_000_000)

export const seeds: readonly number[] = Array.from(
  { length: Number(count ?? (seed === undefined ? 20 : 1)) },
  (_, index) => first + index,
)

/** One engine is enough for schedules that all are to have been through. */
export const chaosEngines = [
  engines.find(({ name }) => name === (engine ?? 'chromium')) ?? engines[0],
].filter((found) => found !== undefined)
