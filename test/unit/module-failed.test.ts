import { expect, test, vi } from 'vitest'
import { openPage } from '../flow/page.ts'
import { createBrowser } from '../flow/tabs.ts'
import { ALICE, createFakeNetwork } from '../support/network.ts'

let isMissing = false
vi.mock('../../src/sign-in.ts', async (original) => {
  const real = await original<typeof import('../../src/sign-in.ts')>()
  return new Proxy(real, {
    get(target, name) {
      if (isMissing && name === 'then') throw new TypeError('Failed to fetch dynamically imported module')
      return Reflect.get(target, name)
    },
    has: () => true,
  })
})

test('a callback whose code could not be loaded can be tried again', async () => {
  const browser = createBrowser(createFakeNetwork())
  const { url } = await browser.openClient().authorize(ALICE.handle)
  openPage(browser.network.approve(url))
  const client = browser.openClient()
  isMissing = true
  await expect(client.initialize()).rejects.toMatchObject({ code: 'module_failed' })
  isMissing = false
  expect((await client.initialize())?.did).toBe(ALICE.did)
})
