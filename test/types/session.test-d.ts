import { Client as AtcuteClient } from '@atcute/client'
import { Agent } from '@atproto/api'
import { Client as LexClient } from '@atproto/lex'
import { describe, expectTypeOf, test } from 'vitest'
import type { Account, Did, Session, SessionStatus } from '../../src/index.ts'

declare const session: Session
declare const account: Account

describe('Session', () => {
  test('gives no token and no key away', () => {
    // @ts-expect-error No token.
    void session.accessToken
    // @ts-expect-error No token.
    void session.refreshToken
    // @ts-expect-error No token.
    void session.tokens
    // @ts-expect-error No key.
    void session.dpopKey
  })

  test('says who it is and how it stands', () => {
    expectTypeOf(session.did).toEqualTypeOf<Did>()
    expectTypeOf(session.did).toExtend<`did:${'plc' | 'web'}:${string}`>()
    expectTypeOf(session.status).toEqualTypeOf<SessionStatus>()
    expectTypeOf(session.expiresAt).toEqualTypeOf<number | undefined>()
    expectTypeOf(session.appState).toEqualTypeOf<unknown>()
  })

  test('cannot be made to be somebody else, or to talk to another server', () => {
    // @ts-expect-error Read-only.
    session.did = 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa'
    // @ts-expect-error Read-only.
    session.pds = 'https://evil.example'
    // @ts-expect-error Read-only.
    session.fetch = fetch
  })

  test('fetches as the platform does', () => {
    expectTypeOf(session.fetch).toBeCallableWith('/xrpc/com.atproto.server.getSession')
    expectTypeOf(session.fetch).toBeCallableWith(new URL('https://pds.example/xrpc/a.b.c'), {
      method: 'POST',
    })
    expectTypeOf(session.fetch).returns.resolves.toEqualTypeOf<Response>()
    expectTypeOf(session.fetch).toExtend<typeof globalThis.fetch>()
  })

  test('goes as it is into the clients people use', () => {
    expectTypeOf(Agent).toBeConstructibleWith(session)
    expectTypeOf(LexClient).toBeConstructibleWith(session)
    expectTypeOf(AtcuteClient).toBeConstructibleWith({ handler: session })
  })
})

describe('Account', () => {
  test('is plain data without secrets', () => {
    expectTypeOf<keyof Account>().toEqualTypeOf<
      | 'current'
      | 'did'
      | 'endsAt'
      | 'expiresAt'
      | 'handle'
      | 'issuer'
      | 'lastUsedAt'
      | 'movedTo'
      | 'pds'
      | 'scope'
      | 'status'
    >()
    expectTypeOf(account.handle).toEqualTypeOf<string | undefined>()
    // @ts-expect-error Read-only.
    account.handle = 'alice.example'
  })
})

describe('SessionStatus', () => {
  test('is one of seven', () => {
    expectTypeOf<SessionStatus>().toEqualTypeOf<
      'active' | 'refreshing' | 'offline' | 'expired' | 'revoked' | 'moved' | 'rotation_lost'
    >()
  })
})
