import { isValidHandle } from '@atproto/syntax'
import { oauthError } from '../errors.ts'
import { fetchBounded, NOT_AN_ORIGIN, parseJson, parseOrigin } from '../http.ts'
import { parseDidDocument, parseDidService } from '../schemas.ts'
import type { StepContext } from '../steps.ts'
import type { Did } from '../types.ts'

const TIMEOUT_MS = 5_000
const MAX_BYTES = 65_536
const MAX_ENTRIES = 64
const MEDIA_TYPES = ['application/did+ld+json', 'application/did+json', 'application/json']

/** What a DID document says of an account. */
export interface AtprotoDidDocument {
  did: Did
  /** The handle it claims, in lower case; not verified by itself. */
  claimedHandle: string | undefined
  /** Origin of the PDS. */
  pds: string
}

/**
 * Fetches a DID's document and reads account data from it: the first well-formed handle, and the one PDS.
 *
 * @throws {OAuthError} `did_not_found`, `did_document_invalid`, or a transport code.
 *
 * @see https://atproto.com/specs/did#did-documents
 */
export async function resolveDidDocument(did: Did, context: StepContext): Promise<AtprotoDidDocument> {
  const url = documentUrl(did, context.plcDirectory)
  const response = await fetchBounded(context.fetch, url, {
    headers: { accept: 'application/did+ld+json, application/json' },
    timeoutMs: TIMEOUT_MS,
    maxBytes: MAX_BYTES,
    signal: context.signal,
  })
  if (response.status === 404 || response.status === 410) {
    throw oauthError('did_not_found', { did })
  }

  const { status } = response
  const invalid = (issues: string[]) => oauthError('did_document_invalid', { did, status, issues })
  const { value, issues } = parseDidDocument(parseJson(response, MEDIA_TYPES))
  if (status !== 200 || !value) throw invalid(issues ?? [`status ${status}`])
  if (value.id !== did) throw invalid(['id: names another DID'])

  const services = (value.service ?? [])
    .slice(0, MAX_ENTRIES)
    .map((service) => parseDidService(service).value)
    .filter(
      (service) =>
        (service?.id === '#atproto_pds' || service?.id === `${did}#atproto_pds`) &&
        service.type === 'AtprotoPersonalDataServer',
    )
  if (services.length !== 1) throw invalid([`service: ${services.length || 'no'} PDS entries`])
  const pds = parseOrigin(services[0]?.serviceEndpoint, context.allowHttp)
  if (!pds) throw invalid([`serviceEndpoint: ${NOT_AN_ORIGIN}`])
  return { did, claimedHandle: findHandle(value.alsoKnownAs ?? []), pds }
}

function documentUrl(did: Did, plcDirectory: string): string {
  if (did.startsWith('did:plc:')) return `${plcDirectory}/${did}`
  const host = did.slice('did:web:'.length).replace(/%3a/i, ':')
  const scheme = /^localhost(:|$)/.test(host) ? 'http' : 'https'
  return `${scheme}://${host}/.well-known/did.json`
}

function findHandle(aliases: readonly unknown[]): string | undefined {
  for (const alias of aliases.slice(0, MAX_ENTRIES)) {
    const handle =
      typeof alias === 'string' && alias.startsWith('at://') ? alias.slice('at://'.length) : undefined
    if (isValidHandle(handle)) return handle.toLowerCase()
  }
  return undefined
}
