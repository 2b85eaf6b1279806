import { guardRefreshes } from './index.ts'

// A worker that does nothing else, for apps that have none: it needs no page to be closed before it begins.
guardRefreshes()
addEventListener('install', () => {
  void (globalThis as unknown as { skipWaiting(): Promise<void> }).skipWaiting()
})
