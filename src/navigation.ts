const CALLBACK_PARAMETERS = [
  'state',
  'iss',
  'code',
  'error',
  'error_description',
  'error_uri',
  'response',
  'session_state',
]
const STATE = /[?#&]state=/

/** The page's URL; `undefined` where there is no page. */
export function currentUrl(): URL | undefined {
  const href = globalThis.location?.href
  return href && URL.canParse(href) ? new URL(href) : undefined
}

/** Leaves the page. The promise never resolves: nothing that waits for it should go on. */
export function redirect(url: string): Promise<never> {
  location.assign(url)
  return new Promise(() => {})
}

/** Redirect and storage of a loopback client live on the IP address: moves a page on `localhost` there. */
export function leaveLocalhost(): Promise<never> | undefined {
  const page = currentUrl()
  if (page?.hostname !== 'localhost' || typeof document === 'undefined') return undefined
  page.hostname = '127.0.0.1'
  location.replace(page.href)
  return new Promise(() => {})
}

/** Whether a URL looks like an answer of an authorization server. */
export function hasCallbackParameters(url: URL): boolean {
  return [url.search, url.hash].some((part) => STATE.test(part) && /[?#&](code|error|response)=/.test(part))
}

/** Takes the answer out of the address bar and the history before anything else can read it there. */
export function scrubCallbackUrl(): void {
  const page = currentUrl()
  if (!page || typeof history === 'undefined') return
  for (const name of CALLBACK_PARAMETERS) if (STATE.test(page.search)) page.searchParams.delete(name)
  if (STATE.test(page.hash)) {
    const fragment = new URLSearchParams(page.hash.slice(1))
    for (const name of CALLBACK_PARAMETERS) fragment.delete(name)
    page.hash = fragment.toString()
  }
  history.replaceState(history.state, '', page.href)
}

/** A page that is only being prerendered must not spend anything. */
export async function whenActivated(): Promise<void> {
  if (typeof document === 'undefined' || !(document as { prerendering?: boolean }).prerendering) return
  await new Promise((resolve) => document.addEventListener('prerenderingchange', resolve, { once: true }))
}

/** Opens an empty window; only inside a click will a browser allow it. */
export function openPopup(): Window | null {
  const left = Math.max(0, screenX + (outerWidth - 480) / 2)
  return window.open(
    'about:blank',
    `signet-${crypto.randomUUID()}`,
    `popup,width=480,height=720,left=${left}`,
  )
}

/** Sends the window on, without a way back to this page for whatever it shows. */
export function navigatePopup(popup: Window, url: string): void {
  popup.opener = null
  popup.location.replace(url)
}

/** Calls back when a page that slept or was offline is in use again. */
export function onWake(listener: (event: 'wake' | 'online') => void): () => void {
  const target = 'addEventListener' in globalThis ? globalThis : undefined
  const online = () => listener('online')
  const wake = (event: Event) => {
    if (event.type !== 'visibilitychange' || document.visibilityState === 'visible') listener('wake')
  }
  const page = typeof document === 'undefined' ? undefined : document
  target?.addEventListener('online', online)
  target?.addEventListener('pageshow', wake)
  page?.addEventListener('visibilitychange', wake)
  page?.addEventListener('resume', wake)
  return () => {
    target?.removeEventListener('online', online)
    target?.removeEventListener('pageshow', wake)
    page?.removeEventListener('visibilitychange', wake)
    page?.removeEventListener('resume', wake)
  }
}
