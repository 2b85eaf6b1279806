import type { HandleResolver } from '../config.ts'
import { isOAuthError, oauthError } from '../errors.ts'
import {
  type BoundedResponse,
  fetchBounded,
  networkFailed,
  parseJson,
  parseMembers,
  responseInvalid,
} from '../http.ts'
import { parseDnsAnswer } from '../schemas.ts'
import type { StepContext } from '../steps.ts'
import { sleep, within } from '../time.ts'
import type { Did } from '../types.ts'
import { parseDid } from './identifier.ts'

/** The next resolver is asked after this, or as soon as the one before it fails. */
const HEAD_START_MS = 500
/** An answer waits this long for the resolvers that come before it. */
const GRACE_MS = 1_500
const LOOKUP_TIMEOUT_MS = 4_000
/** A resolver of the app's own may ask several parties. */
const OWN_TIMEOUT_MS = 10_000
const MAX_NAME_LENGTH = 253
const TXT = 16
const NXDOMAIN = 3

type Lookup = Promise<Did | undefined>

/**
 * Resolves a handle by the app's resolvers, in their order. They are started one after another with a head start;
 * where two answer, the earlier one counts, not the faster one. The answer is a claim of whoever answered: the DID
 * document has to confirm it.
 *
 * @throws {OAuthError} `handle_not_found`, `handle_ambiguous`, or a transport code when no resolver could say.
 *
 * @see https://atproto.com/specs/handle#handle-resolution
 */
export async function resolveHandle(handle: string, context: StepContext): Promise<Did> {
  const stop = new AbortController()
  const lookups: Lookup[] = []
  for (const [index, resolver] of context.handleResolvers.entries()) {
    const failed = lookups.at(-1)?.then(
      (did) => did && new Promise(() => {}),
      () => {},
    )
    const lookup = Promise.resolve(failed && within(failed, HEAD_START_MS * index)).then(() => {
      stop.signal.throwIfAborted()
      return ask(resolver, handle, { ...context, signal: stop.signal })
    })
    lookup.catch(() => {})
    lookups.push(lookup)
  }
  try {
    return await firstInOrder(handle, lookups)
  } finally {
    stop.abort()
  }
}

async function firstInOrder(handle: string, lookups: Lookup[]): Promise<Did> {
  const answered = Promise.any(lookups.map(async (lookup) => (await lookup) ?? Promise.reject()))
  answered.catch(() => {})
  let failure: unknown
  for (const lookup of lookups) {
    try {
      const did = await Promise.race([lookup, answered.then(() => sleep(GRACE_MS)).catch(() => lookup)])
      if (did) return did
    } catch (error) {
      if (isOAuthError(error, 'handle_ambiguous')) throw error
      // A resolver of the app's own that fails has not said that nobody has the handle.
      failure ??= isOAuthError(error) ? error : networkFailed(`handle ${handle}`, error)
    }
  }
  throw failure ?? oauthError('handle_not_found', { handle })
}

async function ask(resolver: Exclude<HandleResolver, string>, handle: string, context: StepContext): Lookup {
  const did =
    typeof resolver === 'function'
      ? await askOwn(handle, resolver, context)
      : resolver.type === 'xrpc'
        ? await askService(handle, resolver.service, context)
        : resolver.type === 'dns'
          ? await askDns(handle, resolver.url, context)
          : await askHost(handle, context)
  if (did === undefined) return undefined
  try {
    return parseDid(did, context.allowHttp)
  } catch (cause) {
    // Said of what a server answered, not of what a person typed.
    throw isOAuthError(cause, 'identifier_invalid')
      ? oauthError('handle_not_found', { handle }, cause)
      : cause
  }
}

async function askOwn(
  handle: string,
  resolver: Extract<HandleResolver, (...args: never[]) => unknown>,
  { signal }: StepContext,
): Promise<string | undefined> {
  const asked = resolver(handle, { signal: signal as AbortSignal })
  const answer = await within(
    Promise.resolve(asked).then((did) => ({ did })),
    OWN_TIMEOUT_MS,
  )
  if (!answer) throw oauthError('timed_out', { url: `handle ${handle}`, timeoutMs: OWN_TIMEOUT_MS })
  return answer.did ?? undefined
}

async function askService(
  handle: string,
  service: string,
  context: StepContext,
): Promise<string | undefined> {
  const url = new URL('/xrpc/com.atproto.identity.resolveHandle', service)
  url.searchParams.set('handle', handle)
  const response = await fetchAnswer(url, 'application/json', 4_096, context)
  if (response.status === 400) return undefined
  const { did } = parseMembers(response)
  return response.status === 200 && typeof did === 'string' ? did : refuse(response)
}

async function askDns(handle: string, service: string, context: StepContext): Promise<string | undefined> {
  const name = `_atproto.${handle}`
  if (name.length > MAX_NAME_LENGTH) return undefined
  const url = new URL(service)
  url.searchParams.set('name', name)
  url.searchParams.set('type', 'TXT')
  const response = await fetchAnswer(url, 'application/dns-json', 16_384, context)
  const { value } = parseDnsAnswer(parseJson(response, ['application/dns-json', 'application/json']))
  if (value?.Status === NXDOMAIN) return undefined
  if (response.status !== 200 || value?.Status !== 0) return refuse(response)
  const texts = (value.Answer ?? [])
    .map(Object)
    .filter(({ type, data }) => type === TXT && typeof data === 'string')
  const dids = new Set(texts.map(({ data }) => joinStrings(data)).filter((text) => text.startsWith('did=')))
  if (dids.size > 1) throw oauthError('handle_ambiguous', { handle })
  return [...dids][0]?.slice('did='.length)
}

async function askHost(handle: string, context: StepContext): Promise<string | undefined> {
  const url = new URL(`https://${handle}/.well-known/atproto-did`)
  // Nothing secret goes with it, and hosts move their files about: the one place where a redirect is followed.
  const response = await fetchAnswer(url, 'text/plain', 2_048, context, 'follow')
  if (response.status === 404 || response.status === 410) return undefined
  const line = response.text.split('\n', 1)[0]?.trim()
  return response.status < 300 && line && !response.finalUrl.startsWith('http:') ? line : refuse(response)
}

function fetchAnswer(
  { href }: URL,
  accept: string,
  maxBytes: number,
  { fetch, signal }: StepContext,
  redirect: 'manual' | 'follow' = 'manual',
): Promise<BoundedResponse> {
  return fetchBounded(fetch, href, {
    headers: { accept },
    timeoutMs: LOOKUP_TIMEOUT_MS,
    maxBytes,
    redirect,
    signal,
  })
}

function refuse({ url, status }: BoundedResponse): never {
  throw responseInvalid(url, status, 'no DID')
}

/** The character strings of a TXT record, which resolvers show quoted, joined (RFC 1035 §3.3.14). */
function joinStrings(data: string): string {
  if (!data.startsWith('"')) return data
  let text = ''
  let quoted = false
  for (let at = 0; at < data.length; at++) {
    const char = data.charAt(at)
    if (char === '"') quoted = !quoted
    else if (quoted) text += char === '\\' ? data.charAt(++at) : char
  }
  return text
}
