// The Vitest browser provider for stock WebKitGTK, which Playwright cannot drive.
import { fileURLToPath } from 'node:url'
import { defineBrowserProvider } from '@vitest/browser'
import type { BrowserProviderOption } from 'vitest/node'
import { elementKey, WebKitSession } from './webkit.ts'

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

      // A test runs in an iframe of the page Vitest opens.
      async function inTest(
        css: string,
        act: (session: WebKitSession, element: string) => Promise<unknown>,
      ): Promise<void> {
        const webkit = await session()
        await webkit.post('/frame', { id: { [elementKey]: await webkit.find('iframe[data-vitest]') } })
        try {
          await act(webkit, await webkit.find(css))
        } finally {
          await webkit.post('/frame', { id: null })
        }
      }
      const click = (css: string): Promise<void> =>
        inTest(css, (webkit, element) => webkit.post(`/element/${element}/click`))
      const fill = (css: string, text: string): Promise<void> =>
        inTest(css, async (webkit, element) => {
          await webkit.post(`/element/${element}/clear`)
          await webkit.post(`/element/${element}/value`, { text })
        })

      const commands: Record<string, (context: unknown, ...args: never[]) => Promise<unknown>> = {
        __vitest_viewport: async (_context, size: { width: number; height: number }) =>
          (await session()).post('/window/rect', size),
        __vitest_click: (_context, target: { selector: string }) => click(target.selector),
        __vitest_fill: (_context, target: { selector: string }, text: string) => fill(target.selector, text),
      }
      for (const [name, command] of Object.entries(commands)) {
        project.browser?.registerCommand(name as never, command as never)
      }

      return {
        name: 'webkitgtk',
        supportsParallelism: false,
        initScripts: [fileURLToPath(new URL('./vitest-webkit-locators.js', import.meta.url))],
        getCommandsContext: () => ({ click }),
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
