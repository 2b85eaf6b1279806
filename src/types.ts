import type { AtprotoDid } from '@atproto/did'

/** A `did:plc` or `did:web` identifier. */
export type Did = AtprotoDid

/** Who somebody is, as far as the chain handle → DID → DID document proved it. */
export interface Identity {
  did: Did
  /** Only when it was verified in both directions. */
  handle: string | undefined
  /** The handle the document claims, not yet looked up. */
  claimedHandle: string | undefined
  /** Origin of the account's PDS. */
  pds: string
}

/** What is kept of an authorization server's metadata (RFC 8414): checked once, then pinned to the flow and the session. */
export interface AuthorizationServer {
  issuer: string
  authorizationEndpoint: string
  pushedAuthorizationRequestEndpoint: string
  tokenEndpoint: string
  revocationEndpoint: string | undefined
  /** `response_modes_supported`, when the server says so. */
  responseModes: readonly string[] | undefined
  /** `prompt_values_supported`, when the server says so. */
  prompts: readonly string[] | undefined
}

/** The public half of a DPoP key as it stands in a proof's header (RFC 9449 §4.2). */
export interface PublicJwk {
  kty: 'EC'
  crv: 'P-256'
  x: string
  y: string
}

/** An ES256 key of one authorization. The private half cannot be exported. */
export interface DpopKey {
  privateKey: CryptoKey
  publicJwk: PublicJwk
}

/** A server's latest `DPoP-Nonce` and when it came, milliseconds since the epoch. */
export interface DpopNonce {
  value: string
  at: number
}

/** What is kept between leaving for the authorization server and coming back. Taken once. */
export interface PendingAuthorization {
  state: string
  clientId: string
  createdAt: number
  server: AuthorizationServer
  /** The account asked for; `undefined` when sign-in began with a server. */
  did: Did | undefined
  handle: string | undefined
  /** The PDS asked for, or the server that was named. */
  pds: string
  redirectUri: string
  scope: string
  codeVerifier: string
  dpopKey: DpopKey
  /** The authorization server's nonce, learned at PAR. */
  nonce: DpopNonce | undefined
  popup: boolean
  appState: unknown
}

/** A token answer, checked (RFC 6749 §5.1). */
export interface TokenSet {
  accessToken: string
  /** `undefined` when the server issued none: the session then ends with its access token. */
  refreshToken: string | undefined
  /** Scope as granted, which may differ from what was asked. */
  scope: string
  /** Milliseconds since the epoch, on this device's clock; `undefined` when the server did not say. */
  expiresAt: number | undefined
  /** When it was asked for, milliseconds since the epoch. */
  issuedAt: number
}

/** Why a stored session waits for its owner to sign in again. */
export type EndedStatus = 'expired' | 'revoked' | 'moved' | 'rotation_lost'

/** A refresh that has been sent and not been answered with tokens. */
export interface RefreshAttempt {
  /** Tells two that were written in the same millisecond apart. */
  id: string
  at: number
  /** How many were sent in a row without success. */
  count: number
  /** No new attempt before this, milliseconds since the epoch. */
  retryAt: number
  /**
   * `pending` while somebody waits for the answer, or is gone; `lost` when none came, so that the token may be spent;
   * `kept` when the server refused and left the token as it was.
   */
  outcome: 'pending' | 'lost' | 'kept'
}

/** One account's session as stored. Replaced as a whole, never edited. */
export interface SessionRecord {
  did: Did
  handle: string | undefined
  pds: string
  server: AuthorizationServer
  clientId: string
  dpopKey: DpopKey
  tokens: TokenSet
  /** Grows by one with every change; a write names the generation it replaces. */
  generation: number
  /** When the person signed in. A public client's session ends two weeks later, however often it is refreshed. */
  createdAt: number
  lastUsedAt: number
  /** When DID, PDS and issuer were last seen to agree; 0 while the handle has yet to be looked up. */
  verifiedAt: number
  /** Written before a refresh request is sent and cleared with its answer: whoever finds it knows that the token may be spent. */
  refreshAttempt: RefreshAttempt | undefined
  ended: EndedStatus | undefined
  /** The new server of an account that moved. */
  movedTo: string | undefined
}
