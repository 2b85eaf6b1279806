import type { Config } from './config.ts'
import { abortable } from './time.ts'

/** The parts of a sign-in that can be watched, in their order. */
export type ProgressStep =
  | 'resolve_handle'
  | 'resolve_did'
  | 'discover_server'
  | 'push_authorization'
  | 'redirect'
  | 'exchange_code'
  | 'verify_subject'
  | 'store_session'

/** One step began, ended or failed. */
export interface ProgressEvent {
  step: ProgressStep
  phase: 'start' | 'end' | 'error'
  /** From the start to the end or failure, milliseconds. */
  durationMs?: number
}

/** What every step of a sign-in is given besides its input. */
export interface StepContext extends Config {
  onProgress(event: ProgressEvent): void
  signal?: AbortSignal | undefined
  /**
   * Does a look-up, or hands on what the same one found a moment ago. The work is shared between callers, so it must
   * not listen to the signal of any one of them.
   */
  remember<T>(key: string, work: (shared: StepContext) => Promise<T>): Promise<T>
}

/** Runs one step, tells the app about it, and stops waiting for it when the caller aborts. */
export async function runStep<T>(
  context: StepContext,
  step: ProgressStep,
  work: () => Promise<T>,
): Promise<T> {
  const { signal, onProgress } = context
  signal?.throwIfAborted()
  const startedAt = performance.now()
  let phase: 'end' | 'error' = 'error'
  onProgress({ step, phase: 'start' })
  try {
    // Whoever watches may have given up.
    signal?.throwIfAborted()
    const result = await abortable(work(), signal)
    phase = 'end'
    return result
  } finally {
    onProgress({ step, phase, durationMs: performance.now() - startedAt })
  }
}
