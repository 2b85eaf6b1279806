import { createOAuthClient, type OAuthError, type ProgressEvent, type Session } from 'atproto-signet'

/** The network this page talks to; Vite puts it in place (see ../demo.ts). Nothing in it is secret. */
declare const NETWORK: { pds: string; plc: string; handles: string[] }

/** With no `clientMetadata` this is the loopback development client: no registration, no metadata to host. */
export const auth = createOAuthClient({
  scope: 'atproto transition:generic',
  handleResolver: NETWORK.pds,
  plcDirectory: NETWORK.plc,
  allowHttp: true,
})

export const sampleHandle: string = NETWORK.handles[0] ?? 'alice.test'

export type Chain = Map<ProgressEvent['step'], ProgressEvent>

/** What this page wants back when the person returns from their server. */
interface AppState {
  identifier: string
  chain: Chain
}

/** The latest event of every step. */
export const chain: Chain = new Map()

auth.on('progress', (step) => chain.set(step.step, step))

/** Leaves the page. The chain travels along, so that the whole of it can be shown afterwards. */
export function signIn(identifier: string, signal: AbortSignal): Promise<never> {
  chain.clear()
  const appState: AppState = { identifier, chain }
  return auth.signIn(identifier, { appState, signal })
}

/** Takes back what `signIn` sent along: from the session, or from the error of a sign-in that came back without one. */
export function recall(from: Session | OAuthError): AppState | undefined {
  const appState = from.appState as AppState | undefined
  if (!appState) return undefined
  for (const [name, step] of appState.chain) if (!chain.has(name)) chain.set(name, step)
  // It was sent along before the page left; that it is back says that leaving worked.
  chain.set('redirect', { step: 'redirect', phase: 'end' })
  return appState
}
