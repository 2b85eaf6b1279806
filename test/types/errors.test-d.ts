import { describe, expectTypeOf, test } from 'vitest'
import {
  type AnyOAuthError,
  type Did,
  isOAuthError,
  OAuthError,
  type OAuthErrorCode,
  type OAuthErrorFacts,
  type OAuthErrorOf,
  type SessionEndReason,
} from '../../src/index.ts'

declare const caught: unknown
declare const error: AnyOAuthError

describe('isOAuthError', () => {
  test('narrows what was caught to the union of all codes', () => {
    if (!isOAuthError(caught)) return
    expectTypeOf(caught).toEqualTypeOf<AnyOAuthError>()
    expectTypeOf(caught.code).toEqualTypeOf<OAuthErrorCode>()
    expectTypeOf(caught).toExtend<OAuthError>()
    expectTypeOf(caught).toExtend<Error>()
  })

  test('narrows to one code and its facts', () => {
    if (!isOAuthError(caught, 'subject_mismatch')) return
    expectTypeOf(caught.code).toEqualTypeOf<'subject_mismatch'>()
    expectTypeOf(caught.expected).toEqualTypeOf<string>()
    expectTypeOf(caught.received).toEqualTypeOf<string>()
  })

  test('knows no other code', () => {
    // @ts-expect-error There is no such code.
    isOAuthError(caught, 'subject_mismatched')
  })
})

describe('a switch over the code', () => {
  test('leaves the facts of that code', () => {
    switch (error.code) {
      case 'handle_mismatch':
        expectTypeOf(error.handle).toEqualTypeOf<string>()
        expectTypeOf(error.did).toExtend<string>()
        break
      case 'session_ended':
        expectTypeOf(error.reason).toEqualTypeOf<SessionEndReason>()
        break
      case 'token_request_failed':
        expectTypeOf(error.status).toExtend<number>()
        expectTypeOf(error.retryAfterMs).toEqualTypeOf<number | undefined>()
        break
      case 'issuer_unsupported':
        expectTypeOf(error.missing).toEqualTypeOf<string[]>()
        break
      case 'popup_closed':
        // @ts-expect-error A closed window has no facts.
        void error.reason
        break
    }
  })

  test('can be exhaustive', () => {
    const known: Record<OAuthErrorCode, true> = {
      identifier_invalid: true,
      did_unsupported: true,
      handle_not_found: true,
      handle_ambiguous: true,
      handle_mismatch: true,
      did_not_found: true,
      did_document_invalid: true,
      resource_metadata_invalid: true,
      issuer_metadata_invalid: true,
      issuer_unsupported: true,
      client_metadata_invalid: true,
      network_failed: true,
      timed_out: true,
      response_invalid: true,
      authorization_refused: true,
      callback_invalid: true,
      authorization_unknown: true,
      authorization_expired: true,
      issuer_mismatch: true,
      subject_mismatch: true,
      scope_missing: true,
      popup_blocked: true,
      popup_closed: true,
      token_request_failed: true,
      token_response_invalid: true,
      dpop_rejected: true,
      session_not_found: true,
      session_ended: true,
      account_moved: true,
      url_forbidden: true,
      header_forbidden: true,
      environment_unsupported: true,
      module_failed: true,
      storage_failed: true,
    }
    expectTypeOf(known).toEqualTypeOf<{ [Code in OAuthErrorCode]: true }>()
  })

  test('gives the facts of another code to nobody', () => {
    if (error.code !== 'url_forbidden') return
    expectTypeOf(error.pds).toEqualTypeOf<string>()
    // @ts-expect-error Only a token request is tried again after a time.
    void error.retryAfterMs
  })
})

describe('OAuthError', () => {
  test('has what every app can use without knowing the code', () => {
    const base = error as OAuthError
    expectTypeOf(base.code).toEqualTypeOf<OAuthErrorCode>()
    expectTypeOf(base.userMessage).toEqualTypeOf<string>()
    expectTypeOf(base.retryable).toEqualTypeOf<boolean>()
    expectTypeOf(base.url).toEqualTypeOf<string | undefined>()
    expectTypeOf(base.appState).toEqualTypeOf<unknown>()
    expectTypeOf(base.toJSON()).toEqualTypeOf<Record<string, unknown>>()
  })

  test('does not let its code be changed', () => {
    // @ts-expect-error Read-only.
    error.code = 'timed_out'
    if (error.code !== 'timed_out') return
    // @ts-expect-error Read-only.
    error.timeoutMs = 1
  })

  test('holds facts that are plain data', () => {
    type Fact = { [Code in OAuthErrorCode]: OAuthErrorFacts[Code][keyof OAuthErrorFacts[Code]] }
    expectTypeOf<Fact[OAuthErrorCode]>().toExtend<string | number | string[] | undefined>()
    expectTypeOf<OAuthErrorFacts['session_ended']['did']>().toEqualTypeOf<Did>()
  })

  test('of one code is not one of another', () => {
    expectTypeOf<OAuthErrorOf<'timed_out'>>().not.toExtend<OAuthErrorOf<'network_failed'>>()
    expectTypeOf<OAuthErrorOf<'timed_out'>>().toExtend<AnyOAuthError>()
  })

  test('is a class, to be told by instanceof', () => {
    if (caught instanceof OAuthError) expectTypeOf(caught.code).toEqualTypeOf<OAuthErrorCode>()
  })
})
