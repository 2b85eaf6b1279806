import { randomToken } from '../dpop/encoding.ts'
import type { StepContext } from '../steps.ts'
import type { AuthorizationServer, Did, DpopKey, PendingAuthorization } from '../types.ts'
import type { Client } from './client.ts'
import { createCodeChallenge, createCodeVerifier } from './pkce.ts'

/** Values of `prompt` that atproto servers know. `none` needs a client that the server trusts; a browser app is not one. */
export type Prompt = 'login' | 'consent' | 'select_account' | 'create' | 'none'
export const PROMPTS: readonly string[] = [
  'login',
  'consent',
  'select_account',
  'create',
  'none',
] satisfies Prompt[]

export interface AuthorizationOptions {
  scope: string
  prompt?: Prompt | undefined
  loginHint?: string | undefined
  uiLocales?: readonly string[] | undefined
  appState?: unknown
  popup: boolean
}

/** Whom the request is for: an account, or whichever one the person chooses at a server. */
export interface AuthorizationTarget {
  did: Did | undefined
  handle: string | undefined
  pds: string
}

/** What is pushed to the server, and what is kept of it for the callback. */
export interface Authorization {
  parameters: Record<string, string | undefined>
  pending: PendingAuthorization
}

/** Makes a new authorization request with a state, verifier and key that no other one has. No request, no storage. */
export async function createAuthorization(
  client: Client,
  target: AuthorizationTarget,
  server: AuthorizationServer,
  dpopKey: DpopKey,
  options: AuthorizationOptions,
  context: StepContext,
): Promise<Authorization> {
  const pending: PendingAuthorization = {
    ...target,
    state: randomToken(32),
    clientId: client.clientId,
    createdAt: context.now(),
    server,
    redirectUri: client.redirectUri,
    scope: options.scope,
    codeVerifier: createCodeVerifier(),
    dpopKey,
    nonce: undefined,
    popup: options.popup,
    appState: options.appState,
  }
  // A fragment stays out of the app server's logs (RFC 9700 §4.2); RFC 8414 §2 has it supported unless said otherwise.
  const fragment = server.responseModes?.includes('fragment') ?? true
  const parameters = {
    client_id: client.clientId,
    response_type: 'code',
    redirect_uri: client.redirectUri,
    scope: options.scope,
    state: pending.state,
    code_challenge: await createCodeChallenge(pending.codeVerifier),
    code_challenge_method: 'S256',
    response_mode: fragment ? 'fragment' : 'query',
    login_hint: options.loginHint,
    prompt: options.prompt && (server.prompts?.includes(options.prompt) ?? true) ? options.prompt : undefined,
    ui_locales: formatLocales(options.uiLocales),
  }
  return { parameters, pending }
}

/** Language tags cut down to language and region: the reference server refuses a whole request for any other form. */
function formatLocales(locales: readonly string[] = []): string | undefined {
  const tags = locales.flatMap((locale) => {
    try {
      const { language, region } = new Intl.Locale(locale)
      if (language.length > 3) return []
      return [region && /^[A-Z]{2}$/.test(region) ? `${language}-${region}` : language]
    } catch {
      return []
    }
  })
  return [...new Set(tags)].slice(0, 8).join(' ') || undefined
}
