import type { HandleResolver } from '../config.ts'
import { isOAuthError, oauthError } from '../errors.ts'
import { fetchBounded, parseJson, responseInvalid } from '../http.ts'
import { parseDnsAnswer } from '../schemas.ts'
import type { StepContext } from '../steps.ts'
import type { Did } from '../types.ts'
import { parseDid } from './identifier.ts'

/** The next resolver is asked after this, or as soon as one before it fails. */
const HEAD_START_MS = 500
/** An answer waits this long for the resolvers that come before it. */
const GRACE_MS = 1_500
const LOOKUP_TIMEOUT_MS = 4_000
const MAX_NAME_LENGTH = 253
const TXT = 16
const NXDOMAIN = 3

type Resolver = Exclude<HandleResolver, string>

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
  const signal = AbortSignal.any([stop.signal, ...(context.signal ? [context.signal] : [])])
  const lookups: Array<Promise<Did | undefined>> = []
  const settled: Array<Promise<unknown>> = []
  try {
    for (const [index, resolver] of context.handleResolvers.entries()) {
      const before = settled[index - 1]
      const start =
        before !== undefined ? Promise.race([before, sleep(HEAD_START_MS * index, signal)]) : undefined
      const lookup = Promise.resolve(start).then(() => {
        signal.throwIfAborted()
        return askResolver(resolver, handle, { ...context, signal })
      })
      lookups.push(lookup)
      // Resolves when the next one should begin: at once after a failure, never after an answer.
      settled.push(
        lookup.then(
          (did) => (did === undefined ? undefined : new Promise(() => {})),
          () => undefined,
        ),
      )
    }
    return await firstInOrder(handle, lookups)
  } finally {
    stop.abort()
    for (const lookup of lookups) lookup.catch(() => {})
  }
}

async function firstInOrder(handle: string, lookups: Array<Promise<Did | undefined>>): Promise<Did> {
  const answered = Promise.any(
    lookups.map(async (lookup) => (await lookup) ?? Promise.reject(new Error('unknown'))),
  )
  answered.catch(() => {})
  let failure: unknown
  for (const lookup of lookups) {
    try {
      const did = await Promise.race([lookup, answered.then(() => sleep(GRACE_MS)).catch(() => lookup)])
      if (did) return did
    } catch (error) {
      if (isOAuthError(error, 'handle_ambiguous') || !isOAuthError(error)) throw error
      failure ??= error
    }
  }
  if (failure) throw failure
  throw oauthError('handle_not_found', `No resolver of the app knows the handle ${handle}`, { handle })
}

async function askResolver(
  resolver: Resolver,
  handle: string,
  context: StepContext,
): Promise<Did | undefined> {
  const did =
    typeof resolver === 'function'
      ? await resolver(handle, { signal: context.signal ?? AbortSignal.timeout(LOOKUP_TIMEOUT_MS) })
      : await { xrpc: askService, dns: askDns, 'well-known': askHost }[resolver.type](
          handle,
          resolver.type === 'xrpc' ? resolver.service : resolver.type === 'dns' ? resolver.url : '',
          context,
        )
  return did === undefined ? undefined : parseDid(did, context.allowHttp)
}

async function askService(
  handle: string,
  service: string,
  context: StepContext,
): Promise<string | undefined> {
  const url = new URL('/xrpc/com.atproto.identity.resolveHandle', service)
  url.searchParams.set('handle', handle)
  const response = await lookup(url, 'application/json', 4_096, context)
  if (response.status === 400) return undefined
  const { did } = Object(parseJson(response))
  if (response.status !== 200 || typeof did !== 'string')
    throw responseInvalid(url.href, response.status, 'no DID')
  return did
}

async function askDns(handle: string, service: string, context: StepContext): Promise<string | undefined> {
  const name = `_atproto.${handle}`
  if (name.length > MAX_NAME_LENGTH) return undefined
  const url = new URL(service)
  url.searchParams.set('name', name)
  url.searchParams.set('type', 'TXT')
  const response = await lookup(url, 'application/dns-json', 16_384, context)
  const { value } = parseDnsAnswer(parseJson(response, ['application/dns-json', 'application/json']))
  if (response.status !== 200 || !value) throw responseInvalid(url.href, response.status, 'not a DNS answer')
  if (value.Status === NXDOMAIN) return undefined
  if (value.Status !== 0) throw responseInvalid(url.href, response.status, `DNS status ${value.Status}`)
  const texts = (value.Answer ?? [])
    .map(Object)
    .filter(({ type, data }) => type === TXT && typeof data === 'string')
  const dids = new Set(texts.map(({ data }) => joinStrings(data)).filter((text) => text.startsWith('did=')))
  if (dids.size > 1) {
    throw oauthError('handle_ambiguous', `DNS names ${dids.size} DIDs for the handle ${handle}`, { handle })
  }
  return [...dids][0]?.slice('did='.length)
}

async function askHost(handle: string, _service: string, context: StepContext): Promise<string | undefined> {
  const url = new URL(`https://${handle}/.well-known/atproto-did`)
  // Nothing secret goes with it, and hosts move their files about: the one place where a redirect is followed.
  const response = await lookup(url, 'text/plain', 2_048, context, 'follow')
  if (response.status === 404 || response.status === 410) return undefined
  const line = response.text.split('\n', 1)[0]?.trim()
  if (response.status >= 300 || !line) throw responseInvalid(url.href, response.status, 'no DID')
  return line
}

function lookup(
  url: URL,
  accept: string,
  maxBytes: number,
  context: StepContext,
  redirect: 'manual' | 'follow' = 'manual',
) {
  const { fetch, signal } = context
  return fetchBounded(fetch, url.href, {
    headers: { accept },
    timeoutMs: LOOKUP_TIMEOUT_MS,
    maxBytes,
    redirect,
    signal,
  })
}

/** The character strings of a TXT record, which resolvers show quoted, joined (RFC 1035 §3.3.14). */
function joinStrings(data: string): string {
  if (!data.startsWith('"')) return data
  return [...data.matchAll(/"((?:[^"\\]|\\.)*)"/g)]
    .map(([, text = '']) => text.replace(/\\(.)/g, '$1'))
    .join('')
}

function sleep(ms: number, signal?: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms)
    signal?.addEventListener('abort', () => {
      clearTimeout(timer)
      resolve(undefined)
    })
  })
}
