// An app's own service worker: it has a cache of its own, and guards refreshes besides.
import { guardRefreshes } from '../../../src/service-worker/index.ts'

interface FetchEvent extends ExtendableEvent {
  readonly request: Request
  respondWith(response: Response | Promise<Response>): void
}

interface ExtendableEvent extends Event {
  waitUntil(work: Promise<unknown>): void
}

interface Scope {
  readonly clients: { claim(): Promise<void> }
  skipWaiting(): Promise<void>
}

const scope = globalThis as unknown as Scope

guardRefreshes()

addEventListener('install', () => void scope.skipWaiting())
addEventListener('activate', (event) => (event as ExtendableEvent).waitUntil(scope.clients.claim()))
addEventListener('fetch', (event) => {
  const { request, respondWith } = event as FetchEvent
  const { origin, pathname } = new URL(request.url)
  if (origin !== location.origin) return
  respondWith.call(event, pathname === '/cached.txt' ? new Response('from the worker') : fetch(request))
})
