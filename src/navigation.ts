const CALLBACK_PARAMETERS = [
  'state',
  'iss',
  'code',
  'error',
  'error_description',
  'error_uri',
  'response',
  'access_token',
  'id_token',
]
/** What `createAuthorization` makes: 32 bytes, base64url. */
const STATE = /^[\w-]{43}$/

/** The page's URL; `undefined` where there is no page. */
export function currentUrl(): URL | undefined {
  const { href = '' } = globalThis.location ?? {}
  return URL.canParse(href) ? new URL(href) : undefined
}

/**
 * Leaves the page. Nothing that waits for it goes on, unless the person comes back to the page as it was.
 */
export function redirect(url: string): Promise<never> {
  location.assign(url)
  return new Promise((_, reject) => {
    addEventListener('pageshow', ({ persisted }) => {
      if (persisted) reject(new DOMException('Came back without signing in', 'AbortError'))
    })
  })
}

/** Moves a page on `localhost` to the same page on the loopback IP address. */
export function leaveLocalhost(): Promise<never> {
  location.replace(location.href.replace('//localhost', '//127.0.0.1'))
  return new Promise(() => {})
}

/** Whether a URL is an answer of an authorization server: it has a state like ours, in its query or its fragment. */
export function isCallback({ search, hash }: URL): boolean {
  return [search, hash].some((part) => hasState(part) && /[?#&](code|error|response)=/.test(part))
}

/** Decoded before it is looked at: a server may write `-` and `_` as `%2D` and `%5F`. */
function hasState(part: string): boolean {
  return STATE.test(new URLSearchParams(part.slice(1)).get('state') ?? '')
}

/** Takes the answer out of the address bar and the history before anything else can read it there. */
export function scrubCallbackUrl(): void {
  const page = currentUrl()
  if (!page) return
  const fragment = new URLSearchParams(page.hash.slice(1))
  const inQuery = hasState(page.search)
  const inFragment = hasState(page.hash)
  for (const name of CALLBACK_PARAMETERS) {
    if (inQuery) page.searchParams.delete(name)
    fragment.delete(name)
  }
  if (inFragment) page.hash = String(fragment)
  history.replaceState(history.state, '', page)
}

/** A page that is only being prerendered must not spend anything. */
export async function whenActivated(): Promise<void> {
  if (!(globalThis.document as { prerendering?: boolean } | undefined)?.prerendering) return
  await new Promise((resolve) => document.addEventListener('prerenderingchange', resolve, { once: true }))
}

/** Opens an empty window; only inside a click will a browser allow it. */
export function openPopup(): Window | null | undefined {
  return globalThis.window?.open('about:blank', `signet-${crypto.randomUUID()}`, 'popup,width=480,height=720')
}

/** Sends the window on, without a way back to this page for whatever it shows. */
export function navigatePopup(popup: Window, url: string): void {
  popup.opener = null
  popup.location.replace(url)
}

/** Calls back when a page goes to sleep or away, and when one that slept or was offline is in use again. */
export function onWake(listener: (event: Event) => void): () => void {
  const types = ['online', 'pagehide', 'pageshow', 'visibilitychange', 'resume']
  for (const type of types) globalThis.addEventListener?.(type, listener)
  return () => {
    for (const type of types) globalThis.removeEventListener?.(type, listener)
  }
}
