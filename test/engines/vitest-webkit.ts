// The Vitest browser provider for stock WebKitGTK, which Playwright cannot drive.
import { defineBrowserProvider } from '@vitest/browser'
import type { BrowserProviderOption } from 'vitest/node'
import { WebKitSession } from './webkit.ts'

export function webkitgtk(miniBrowser: string): BrowserProviderOption {
  return defineBrowserProvider({
    name: 'webkitgtk',
    supportedBrowser: ['webkit'],
    options: {},
    providerFactory(project) {
      let starting: Promise<WebKitSession> | undefined
      const session = (): Promise<WebKitSession> => {
        starting ??= WebKitSession.start(miniBrowser)
        return starting
      }

      const resize = async (_context: unknown, size: { width: number; height: number }) =>
        (await session()).post('/window/rect', size)
      project.browser?.registerCommand('__vitest_viewport' as never, resize as never)

      return {
        name: 'webkitgtk',
        supportsParallelism: false,
        getCommandsContext: () => ({}),
        async openPage(_sessionId, url) {
          await (await session()).post('/url', { url })
        },
        async close() {
          const webkit = await starting?.catch(() => undefined)
          starting = undefined
          await webkit?.close()
        },
      }
    },
  })
}
