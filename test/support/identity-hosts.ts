import type { FakeRequest } from './exchange.ts'
import { decodePath } from './exchange.ts'
import type { FakeAccount } from './hosts.ts'
import { answerResolveHandle } from './resource-server.ts'
import { json } from './respond.ts'

/** Where a handle is published. A method left out does not know it. */
export interface HandleRecords {
  /**
   * TXT records of `_atproto.<handle>`: a string is one record, an array one record in several strings;
   * an object is the DoH answer itself.
   */
  dns?: readonly (string | readonly string[])[] | { Status: number; Answer?: readonly unknown[] }
  /** Body of `/.well-known/atproto-did`. */
  wellKnown?: string
  /** DID the XRPC resolver (and every PDS) answers. */
  xrpc?: string
}

/** Everything that says whom a handle or a DID belongs to. */
export class IdentityHosts {
  readonly handles = new Map<string, HandleRecords>()
  readonly accounts: FakeAccount[]

  constructor(accounts: FakeAccount[]) {
    this.accounts = accounts
    for (const account of accounts) this.publish(account)
  }

  /** Publishes the handle of an account by all three methods. */
  publish({ handle, did }: FakeAccount): void {
    this.handles.set(handle, { dns: [`did=${did}`], wellKnown: did, xrpc: did })
  }

  readonly resolve = (handle: string): string | undefined => this.handles.get(handle)?.xrpc

  document(did: string): Record<string, unknown> | undefined {
    const account = this.accounts.find((known) => known.did === did)
    return account && didDocument(account)
  }

  answerXrpc(request: FakeRequest): Response {
    if (request.path !== '/xrpc/com.atproto.identity.resolveHandle')
      return new Response('Not Found', { status: 404 })
    return answerResolveHandle(request, this.resolve)
  }

  answerDoh(request: FakeRequest): Response {
    const name = request.query.get('name') ?? ''
    const type = request.query.get('type')?.toUpperCase()
    const records = this.handles.get(name.replace(/^_atproto\./, '').replace(/\.$/, ''))?.dns
    const known = name.startsWith('_atproto.') && (type === 'TXT' || type === '16') ? records : undefined
    const headers = { 'content-type': 'application/dns-json' }
    if (known === undefined) return json({ Status: 3, TC: false, RD: true, RA: true }, { headers })
    if (!('map' in known)) return json(known, { headers })
    const Answer = known.map((strings) => ({
      name,
      type: 16,
      TTL: 300,
      data: (typeof strings === 'string' ? [strings] : strings).map((part) => `"${part}"`).join(' '),
    }))
    return json(
      { Status: 0, TC: false, RD: true, RA: true, Question: [{ name, type: 16 }], Answer },
      { headers },
    )
  }

  answerPlc(request: FakeRequest): Response {
    const document = this.document(decodePath(request.path).slice(1))
    if (!document)
      return json({ message: `DID not registered: ${decodePath(request.path).slice(1)}` }, { status: 404 })
    return json(document, { headers: { 'content-type': 'application/did+ld+json; charset=utf-8' } })
  }

  /** `undefined`: there is no such host. */
  answerHost(request: FakeRequest): Response | undefined {
    const host = new URL(request.url).hostname
    if (request.path === '/.well-known/did.json') {
      const document = this.document(`did:web:${host}`)
      return document && json(document)
    }
    const records = this.handles.get(host)
    if (!records) return undefined
    if (request.path !== '/.well-known/atproto-did' || records.wellKnown === undefined) {
      return new Response('Not Found', { status: 404 })
    }
    return new Response(records.wellKnown, { headers: { 'content-type': 'text/plain' } })
  }
}

export function didDocument({ did, handle, pds }: FakeAccount): Record<string, unknown> {
  return {
    '@context': ['https://www.w3.org/ns/did/v1', 'https://w3id.org/security/multikey/v1'],
    id: did,
    alsoKnownAs: [`at://${handle}`],
    verificationMethod: [
      {
        id: `${did}#atproto`,
        type: 'Multikey',
        controller: did,
        publicKeyMultibase: 'zQ3shXjHeiBuRCKmM36cuYnm7YEMzhGnCmCyW92sRJ9pribSF',
      },
    ],
    service: [{ id: '#atproto_pds', type: 'AtprotoPersonalDataServer', serviceEndpoint: pds }],
  }
}
