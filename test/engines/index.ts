import { afterAll, beforeAll } from 'vitest'
import { type Engine, findEngines } from './find.ts'
import { launch } from './launch.ts'
import type { Browser, Context, ContextOptions } from './page.ts'

export type { Engine } from './find.ts'
export type { Context, Page } from './page.ts'

/** The engines the tests of this run go through. */
export const engines: readonly Engine[] = findEngines()

/**
 * One browser for the tests of the surrounding `describe`.
 * The function returned runs a test in a fresh context and closes that, whatever happens.
 */
export function useBrowser(
  engine: Engine,
): <T>(test: (context: Context) => Promise<T>, options?: ContextOptions) => Promise<T> {
  let browser: Browser
  beforeAll(async () => {
    browser = await launch(engine)
  })
  afterAll(() => browser?.close())
  return async (test, options) => {
    const context = await browser.newContext(options)
    try {
      return await test(context)
    } finally {
      await context.close()
    }
  }
}
