import { afterAll, beforeAll, describe, test } from 'vitest'
import { chaosEngines, seeds } from '../chaos/options.ts'
import { runSchedule } from '../chaos/run.ts'
import { makeSchedule } from '../chaos/schedule.ts'
import type { Network } from '../network/network.ts'
import { startNetworkProcess } from '../network/start.ts'
import { useContext } from './app.ts'

let network: Network
beforeAll(async () => {
  network = await startNetworkProcess()
})
afterAll(() => network?.stop())

describe.each(chaosEngines)('$name', (engine) => {
  const shared = useContext(engine)

  test.each(seeds)('loses no session and sends no token twice, whatever happens (seed %i)', (seed) =>
    runSchedule(makeSchedule(seed), { context: shared.context, network }),
  )
})
