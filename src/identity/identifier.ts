import { isAtprotoDid } from '@atproto/did'
import { INVALID_HANDLE, isValidHandle, isValidTld } from '@atproto/syntax'
import { oauthError } from '../errors.ts'
import { NOT_AN_ORIGIN, parsePartyUrl } from '../http.ts'
import type { Did } from '../types.ts'

/** What somebody signs in with. */
export type Identifier = { handle: string } | { did: Did } | { server: string }

const MAX_LENGTH = 2048
/** White space and the invisible characters that come along when a handle is copied out of a page. */
const INVISIBLE = /[\s\p{Cf}]/u

/**
 * Reads what a person typed or pasted: a handle (any case, with or without `@`, with white space or invisible
 * characters around it), a DID, or the URL of a server. Makes no request.
 *
 * @throws {OAuthError} `identifier_invalid`, `did_unsupported`
 */
export function parseIdentifier(input: unknown, options: { allowHttp?: boolean } = {}): Identifier {
  const { allowHttp = false } = options
  if (typeof input !== 'string') throw invalid('', 'not a string')
  if (input.length > MAX_LENGTH) throw invalid(input, `longer than ${MAX_LENGTH}`)
  const text = trim(input)

  if (/^did:/i.test(text)) return identify({ did: parseDid(text, allowHttp) })
  if (/^https?:/i.test(text)) {
    const url = parsePartyUrl(text, allowHttp)
    const server = url?.href === `${url?.origin}/` ? url.origin : undefined
    if (!server) throw invalid(text, NOT_AN_ORIGIN)
    return identify({ server })
  }
  return identify({ handle: parseHandle(trim(text.replace(/^(at:\/\/|@)/, '')), allowHttp) })
}

/** Without a prototype: which member there is decides where people are sent. */
export function identify<T extends Identifier>(identifier: T): T {
  return Object.assign(Object.create(null), identifier)
}

/**
 * A handle in lower case. Names that can never be looked up are refused here (atproto handle specification); `.test`
 * is for development.
 */
function parseHandle(text: string, allowHttp: boolean): string {
  // Checked before it is lowered: lower-casing turns some other letters into ASCII.
  if (!isValidHandle(text)) throw invalid(text, 'not a handle, DID or server URL')
  const handle = text.toLowerCase()
  if (!isResolvable(handle, allowHttp)) {
    throw invalid(text, 'reserved top-level domain; allowHttp lets .test through')
  }
  return handle
}

export function isResolvable(handle: string, allowHttp: boolean): boolean {
  return isValidTld(handle) && handle !== INVALID_HANDLE && (allowHttp || !handle.endsWith('.test'))
}

/** Checks a DID's syntax and method; `did:web` must be a public host without path or port. */
export function parseDid(text: string, allowHttp: boolean): Did {
  if (isAtprotoDid(text) && text.length <= MAX_LENGTH) {
    if (text.startsWith('did:plc:') || allowHttp) return text
    const host = text.slice('did:web:'.length)
    if (isValidHandle(host) && isValidTld(host) && !/\.test$|[A-Z]/.test(host)) return text
  }
  const method = /^did:([a-z]+):[\w.:%-]*[\w.-]$/.exec(text)?.[1]
  if (method && method !== 'plc' && method !== 'web') {
    throw oauthError('did_unsupported', { input: describe(text), method })
  }
  throw invalid(text, 'not a valid did:plc or did:web')
}

/** By hand: a pattern for the end would be tried at every gap, which takes long for a long one. */
function trim(input: string): string {
  let start = 0
  let end = input.length
  while (start < end && INVISIBLE.test(input.charAt(start))) start++
  while (end > start && INVISIBLE.test(input.charAt(end - 1))) end--
  return input.slice(start, end)
}

function invalid(input: string, reason: string): Error {
  return oauthError('identifier_invalid', { input: describe(input), reason })
}

/** Shortened, with everything but printable ASCII as code points, so that look-alikes and bidi controls show. */
function describe(text: string): string {
  return text
    .slice(0, 100)
    .replace(
      /[^\x20-\x7e]/gu,
      (char) => `<U+${char.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0')}>`,
    )
}
