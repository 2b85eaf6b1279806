import type { ClientRegistry } from './client-registry.ts'
import type { Clock } from './clock.ts'
import type { FakeAccount } from './hosts.ts'
import type { Nonces, ReplayMemory } from './proofs.ts'

/** A token set alive on an authorization server. */
export interface FakeSession {
  readonly id: number
  readonly did: string
  readonly clientId: string
  readonly jkt: string
  readonly issuer: string
  /** Resource server at sign-in. */
  readonly pds: string
  scope: string
  readonly createdAt: number
  accessToken: string
  accessExpiresAt: number
  refreshToken: string | undefined
  refreshExpiresAt: number
  readonly spentRefreshTokens: Set<string>
  readonly code: string
  alive: boolean
  /** Why it died. */
  endedBy: 'revocation' | 'code_replay' | 'refresh_replay' | 'refresh_misuse' | 'expiry' | 'test' | undefined
}

export interface Canary {
  readonly value: string
  readonly kind: 'access token' | 'refresh token' | 'code' | 'verifier'
  readonly issuer: string
  readonly pds: string
}

/** What all servers of one network share. */
export interface World {
  readonly clock: Clock
  /** Clock of the servers. */
  readonly serverNow: () => number
  readonly accounts: FakeAccount[]
  readonly clients: ClientRegistry
  readonly sessions: FakeSession[]
  readonly replay: ReplayMemory
  readonly canaries: Canary[]
  /** Nonces by origin; two roles of one origin share theirs. */
  readonly nonces: (origin: string) => Nonces
  readonly violation: (text: string) => void
}
