/**
 * What a multi-page test does with a browser, the same in every engine.
 * Functions given to `eval`, `start` and `waitFor` run in the page: they see nothing of the test but their
 * argument, and both that and their result have to be JSON.
 */
export interface Page {
  goto(url: string): Promise<void>
  reload(): Promise<void>
  back(): Promise<void>
  url(): Promise<string>
  eval<R, A = null>(run: PageFunction<R, A>, argument?: A): Promise<R>
  /** Begins something that takes the page away, such as a redirect, and does not wait for it. */
  start<A = null>(run: PageFunction<unknown, A>, argument?: A): Promise<void>
  /** Waits for the element, and for it to be visible and enabled. With `text`, the one that says exactly this. */
  click(css: string, text?: string): Promise<void>
  /** Types into a field as a person does, so that frameworks notice. */
  fill(css: string, text: string): Promise<void>
  /** Waits until the function returns something truthy, over navigations, and returns it. */
  waitFor<R, A = null>(run: PageFunction<R, A>, argument?: A): Promise<NonNullable<R>>
  waitUrl(pattern: RegExp): Promise<string>
  /** The page that `open` makes this one open. */
  popup(open: () => Promise<unknown>): Promise<Page>
  screenshot(file: string): Promise<void>
  isClosed(): Promise<boolean>
  close(): Promise<void>
}

type PageFunction<R, A> = (argument: A) => R | Promise<R>

/** A profile of its own: cookies, storage, locks and channels are shared by its pages and with no other context. */
export interface Context {
  newPage(): Promise<Page>
  /** Cuts the context off from the network. Not in stock WebKit, which has no switch for it. */
  setOffline(offline: boolean): Promise<void>
  close(): Promise<void>
}

export interface ContextOptions {
  /** A folder to keep the profile in. Opened again after `close`, the browser finds what it stored. */
  profile?: string
}

export interface Browser {
  newContext(options?: ContextOptions): Promise<Context>
  close(): Promise<void>
}

export const patience = 30_000
const interval = 50

/** Asks again until the answer is truthy. A throw counts as "not yet": a page may be between two documents. */
export async function poll<T>(
  ask: () => Promise<T>,
  describe: () => string | Promise<string>,
  limit: number = patience,
): Promise<NonNullable<T>> {
  const end = Date.now() + limit
  let cause: unknown
  for (;;) {
    try {
      const answer = await ask()
      if (answer) return answer
    } catch (error) {
      cause = error
    }
    if (Date.now() > end) throw new Error(`Waited ${limit} ms in vain for ${await describe()}`, { cause })
    await new Promise((done) => setTimeout(done, interval))
  }
}

/** For the message of a wait that failed: where the page is and what it says. */
export async function whereabouts(page: Page): Promise<string> {
  // biome-ignore lint/performance/useDomNodeTextContent: what a person would see, without scripts and hidden parts
  const text = await page.eval(() => document.body.innerText.slice(0, 400)).catch((error) => `(${error})`)
  const url = await page.url().catch((error) => `(${error})`)
  return `The page is at ${url} and says:\n${text}`
}
