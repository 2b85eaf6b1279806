import { afterEach, expect, test, vi } from 'vitest'
import { createDpopNonces } from '../../src/dpop/nonces.ts'

afterEach(() => {
  vi.useRealTimers()
})

test('requests to a server that fails slowly do not queue up behind each other (DPOP-25)', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  const nonces = createDpopNonces(() => 0)
  let entered = 0
  async function request(): Promise<void> {
    const leave = await nonces.enter('https://pds.signet.dev')
    entered++
    await new Promise((done) => setTimeout(done, 1_500))
    leave?.(false)
  }
  const sent = Promise.all(Array.from({ length: 10 }, request))
  await vi.advanceTimersByTimeAsync(2_000)
  expect(entered).toBe(10)
  await vi.advanceTimersByTimeAsync(2_000)
  await sent
})
