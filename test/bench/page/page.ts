import { environment } from './environment.ts'
import { createSpeed, type Speed } from './speed.ts'

/** What an app does with its OAuth client, the same for each of them. */
export interface Contender {
  /** Resolves to the URL of the sign-in page. */
  authorize(handle: string): Promise<string>
  /** What a page begins with: finishes a sign-in or brings the session back. Resolves to its DID. */
  start(): Promise<string | undefined>
  request(path: string): Promise<Response>
  refresh(): Promise<unknown>
  prefetch?(handle: string): Promise<void>
}

export interface Bench extends Contender, Speed {
  environment: typeof environment
}

/** Where the network of this run is, put in by the build. */
declare const NETWORK: { pds: string; plc: string }

declare global {
  interface Window {
    bench: Bench
  }
}

export const { pds, plc } = NETWORK
export const scope = 'atproto transition:generic'
/** The page as it was served, which is where the sign-in comes back to. */
export const redirectUri = location.origin + location.pathname
/** A client in development needs no document. */
export const clientId = `http://localhost?${new URLSearchParams({ redirect_uri: redirectUri, scope })}`

export function present(contender: Contender): void {
  window.bench = { ...contender, ...createSpeed(contender, environment), environment }
}
