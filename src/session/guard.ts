import { OAuthError, type OAuthErrorCode, oauthError } from '../errors.ts'
import type { StoredSession } from '../storage/sessions.ts'
import { within } from '../time.ts'
import type { SessionRecord } from '../types.ts'
import type { SessionContext } from './context.ts'
import type { RefreshUrgency } from './refresh.ts'

/** What a page asks of a service worker that guards refreshes. No token: both read them from storage. */
export interface GuardRequest {
  signet: 1
  name: string
  allowHttp: boolean
  clientId: string
  did: string
  /** `issuedAt` of the tokens to be replaced: newer ones are left alone. */
  issuedAt: number
  urgency: RefreshUrgency
}

/** `accepted` at once, then the result. */
export type GuardAnswer = 'accepted' | { error?: { code: OAuthErrorCode } }

/** A worker that does not answer in this time does not know the question, and is not asked again by this page. */
const ACCEPT_MS = 1_000
/** Longer than a worker waits for the lock and the server together. */
const DONE_MS = 60_000

/**
 * Has the app's service worker refresh a session, if it can: a worker lives on when its page is closed.
 *
 * @returns What is stored afterwards; `false` when there is no such worker and nothing was done.
 */
export async function refreshByGuard(
  context: SessionContext,
  { did, tokens }: SessionRecord,
  urgency: RefreshUrgency,
): Promise<StoredSession | false> {
  const { name, allowHttp, clientId, sessions, storage, unguarded } = context
  // Also where a browser refuses even to look for one: a page without an origin has no IndexedDB either.
  if (storage.tier === 'memory') return false
  const registration = await globalThis.navigator?.serviceWorker?.getRegistration().catch(() => undefined)
  const worker = registration?.active
  if (!worker || worker === unguarded) return false

  const { port1, port2 } = new MessageChannel()
  const answers: Array<(answer: GuardAnswer) => void> = []
  const next = () => new Promise<GuardAnswer>((resolve) => answers.push(resolve))
  const [accepted, done] = [next(), next()]
  port1.onmessage = ({ data }: MessageEvent<GuardAnswer>) => answers.shift()?.(data)
  worker.postMessage(
    { signet: 1, name, allowHttp, clientId, did, issuedAt: tokens.issuedAt, urgency } satisfies GuardRequest,
    [port2],
  )
  try {
    // Any other answer is one to another question.
    if ((await within(accepted, ACCEPT_MS)) !== 'accepted') {
      context.unguarded = worker
      return false
    }
    const answer = await within(done, DONE_MS)
    if (!answer || typeof answer !== 'object')
      throw oauthError('timed_out', { url: 'service worker', timeoutMs: DONE_MS })
    if (answer.error) throw new OAuthError(answer.error.code, answer.error)
    return await sessions.load(did)
  } finally {
    port1.close()
  }
}
