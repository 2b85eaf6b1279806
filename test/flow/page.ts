import { afterEach, vi } from 'vitest'

/** The window of a test, as far as the package looks at it. */
export interface Page {
  /** What the address bar shows. */
  readonly url: URL
  /** Where the page was sent. */
  readonly navigations: string[]
  /** Resolves with the first of them. */
  readonly left: Promise<string>
  /** How many entries the history has got since the page was opened. */
  readonly entries: number
}

afterEach(() => {
  vi.unstubAllGlobals()
})

/** Puts a page at `href` around the test, until the test ends. */
export function openPage(href: string): Page {
  const { promise: left, resolve: leave } = Promise.withResolvers<string>()
  const page = { url: new URL(href), navigations: [] as string[], left, entries: 0 }
  const navigate = (url: string | URL): void => {
    page.navigations.push(String(url))
    leave(String(url))
  }
  vi.stubGlobal('location', {
    get href() {
      return page.url.href
    },
    assign: navigate,
    replace: navigate,
  })
  const window = new EventTarget()
  vi.stubGlobal('addEventListener', window.addEventListener.bind(window))
  vi.stubGlobal('removeEventListener', window.removeEventListener.bind(window))
  vi.stubGlobal('history', {
    state: { of: 'the app' },
    replaceState(state: unknown, _title: string, url: string | URL) {
      if (JSON.stringify(state) !== '{"of":"the app"}') throw new Error('The state of the app is lost')
      const next = new URL(url, page.url)
      if (next.origin !== page.url.origin) throw new DOMException('Another origin', 'SecurityError')
      page.url = next
    },
    pushState() {
      page.entries++
    },
  })
  return page
}

/** The document of a page. Whoever makes an element in it fails the test. */
export class PageDocument extends EventTarget {
  prerendering = false
  visibilityState = 'visible'
  readonly elements: string[] = []
  createElement(name: string): never {
    this.elements.push(name)
    throw new Error(`The package makes a <${name}>`)
  }
}
