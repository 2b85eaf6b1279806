export type { Prompt } from './authorization/request.ts'
export { createOAuthClient, type OAuthClient } from './client.ts'
export type { HandleResolver, OAuthClientMetadata, OAuthClientOptions } from './config.ts'
export {
  type AnyOAuthError,
  isOAuthError,
  OAuthError,
  type OAuthErrorCode,
  type OAuthErrorFacts,
  type OAuthErrorOf,
  type SessionEndReason,
} from './errors.ts'
export type { ClientEvents, DiagnosticEvent } from './events.ts'
export type { ClientSnapshot, SessionEvent } from './session/accounts.ts'
export type { Account, Session, SessionStatus } from './session/session.ts'
export type { AuthorizationRequest, SignInOptions } from './sign-in.ts'
export type { ProgressEvent, ProgressStep } from './steps.ts'
export type { Did } from './types.ts'
