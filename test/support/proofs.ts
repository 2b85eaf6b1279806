import { createHmac, randomBytes } from 'node:crypto'
import {
  calculateJwkThumbprint,
  decodeJwt,
  decodeProtectedHeader,
  EmbeddedJWK,
  type JWK,
  jwtVerify,
} from 'jose'
import { sha256 } from './keys.ts'

export interface DecodedProof {
  readonly jwt: string
  readonly header: Readonly<Record<string, unknown>>
  readonly payload: Readonly<Record<string, unknown>>
  /** Thumbprint of the key in the header. */
  readonly jkt: string | undefined
}

export async function decodeProof(jwt: string): Promise<DecodedProof | undefined> {
  try {
    const header: Record<string, unknown> = { ...decodeProtectedHeader(jwt) }
    const jkt = header.jwk ? await calculateJwkThumbprint(header.jwk as JWK) : undefined
    return { jwt, header, payload: { ...decodeJwt(jwt) }, jkt }
  } catch {
    return undefined
  }
}

export interface ProofTarget {
  method: string
  /** Origin and path. */
  target: string
  accessToken: string | undefined
}

/** What is wrong with a proof, whoever it is meant for: everything but time, nonce and replay. */
export async function proofDefects(proof: DecodedProof, request: ProofTarget): Promise<string[]> {
  const { header, payload } = proof
  const defects: string[] = []
  const must = (holds: boolean, text: string): void => {
    if (!holds) defects.push(text)
  }
  must(header.typ === 'dpop+jwt', 'typ is not dpop+jwt')
  must(header.alg === 'ES256', 'alg is not ES256')
  const members = Object.keys((header.jwk as object | undefined) ?? {}).sort()
  must(members.join() === 'crv,kty,x,y', `jwk has the members ${members.join() || 'none'}`)
  const known = ['jti', 'htm', 'htu', 'iat', 'nonce', 'ath']
  const foreign = Object.keys(payload).filter((name) => !known.includes(name))
  must(foreign.length === 0, `claims beyond the profile: ${foreign.join()}`)
  must(hasEntropy(payload.jti), 'jti is missing or shorter than 96 random bits')
  must(payload.htm === request.method, `htm is ${payload.htm}, the request ${request.method}`)
  must(payload.htu === request.target, `htu is ${payload.htu}, the request ${request.target}`)
  must(Number.isInteger(payload.iat), 'iat is not a whole number')
  must(payload.nonce === undefined || typeof payload.nonce === 'string', 'nonce is not a string')
  const ath = request.accessToken === undefined ? undefined : sha256(request.accessToken)
  must(payload.ath === ath, ath ? 'ath is not the hash of the access token' : 'ath without an access token')
  try {
    await jwtVerify(proof.jwt, EmbeddedJWK, {
      algorithms: ['ES256'],
      currentDate: new Date(Number(payload.iat) * 1000),
    })
  } catch {
    defects.push('signature does not verify with the key in the header')
  }
  return defects
}

function hasEntropy(jti: unknown): boolean {
  if (typeof jti !== 'string') return false
  const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i
  return uuid.test(jti) || (/^[0-9a-f]+$/i.test(jti) ? jti.length >= 24 : jti.length >= 16)
}

/** Refusal of a proof; `use_dpop_nonce` or `invalid_dpop_proof`. */
export class ProofRefused extends Error {
  readonly error: 'use_dpop_nonce' | 'invalid_dpop_proof'
  constructor(error: 'use_dpop_nonce' | 'invalid_dpop_proof', description: string) {
    super(description)
    this.error = error
  }
}

export interface ProofPolicy {
  /** Server clock, milliseconds. */
  now: number
  nonces: Nonces
  replay: ReplayMemory
}

/** Verifies a proof in the order of the reference server and returns the thumbprint of its key. */
export async function verifyProof(
  proof: DecodedProof | undefined,
  request: ProofTarget,
  policy: ProofPolicy,
): Promise<string> {
  const refuse = (description: string): never => {
    throw new ProofRefused('invalid_dpop_proof', description)
  }
  if (proof?.jkt === undefined) return refuse('DPoP proof required')
  const { nonce, iat, jti } = proof.payload
  const age = policy.now / 1000 - Number(iat)
  // Both limits are the reference server's: 10 s of age and 180 s of tolerance either way.
  if (!(age <= 190)) refuse('"iat" claim timestamp check failed (too far in the past)')
  if (!(age >= -180)) refuse('"iat" claim timestamp check failed (it should be in the past)')
  const defects = await proofDefects(proof, request)
  if (defects.length > 0) refuse(defects.join('; '))
  if (nonce === undefined)
    throw new ProofRefused('use_dpop_nonce', 'Authorization server requires nonce in DPoP proof')
  if (!policy.nonces.accepts(String(nonce), proof.jkt)) {
    throw new ProofRefused('use_dpop_nonce', 'DPoP "nonce" mismatch')
  }
  if (!policy.replay.remember(String(jti), policy.now)) refuse('DPoP proof replayed')
  return proof.jkt
}

/** Proof identifiers seen lately; one memory for every server of the network. */
export class ReplayMemory {
  readonly #until = new Map<string, number>()

  remember(jti: string, now: number): boolean {
    if ((this.#until.get(jti) ?? 0) > now) return false
    this.#until.set(jti, now + 198_000)
    return true
  }
}

/**
 * - `shared`: one value for everybody, new every minute (the reference server).
 * - `per-session`: as `shared`, but each key has its own.
 * - `every-response`: a new value with every answer, each good for three minutes.
 * - `single-use`: as `every-response`, and each is accepted once.
 */
export type NonceMode = 'shared' | 'per-session' | 'every-response' | 'single-use'

export class Nonces {
  mode: NonceMode = 'shared'
  readonly #now: () => number
  readonly #issued = new Map<string, number>()
  #secret = randomBytes(32)

  constructor(now: () => number) {
    this.#now = now
  }

  /** The value to hand out now. */
  next(jkt: string | undefined): string {
    if (this.mode === 'shared' || this.mode === 'per-session') return this.#derive(this.#minute() + 1, jkt)
    const nonce = randomBytes(24).toString('base64url')
    this.#issued.set(nonce, this.#now())
    return nonce
  }

  accepts(nonce: string, jkt: string): boolean {
    if (this.mode === 'shared' || this.mode === 'per-session') {
      return [-1, 0, 1].some((step) => this.#derive(this.#minute() + step, jkt) === nonce)
    }
    const issued = this.#issued.get(nonce)
    if (issued === undefined || this.#now() - issued > 180_000) return false
    if (this.mode === 'single-use') this.#issued.delete(nonce)
    return true
  }

  /** Makes every nonce handed out so far stale. */
  rotate(): void {
    this.#secret = randomBytes(32)
    this.#issued.clear()
  }

  #minute(): number {
    return Math.floor(this.#now() / 60_000)
  }

  #derive(minute: number, jkt: string | undefined): string {
    const subject = this.mode === 'per-session' ? jkt : ''
    return createHmac('sha256', this.#secret).update(`${minute} ${subject}`).digest('base64url')
  }
}
