import type { environment } from './environment.ts'
import type { Contender } from './page.ts'

/** Milliseconds that requests took, and as many bare signatures right after them. */
export interface Sample {
  request: number
  signature: number
}

export interface Speed {
  /** So many samples of one request and one signature. */
  sequential(count: number): Promise<Sample[]>
  /** A sample of so many of each, all begun at once. */
  concurrent(count: number): Promise<Sample>
}

const PATH = '/xrpc/com.atproto.server.getSession'
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
/** About as long as the signed part of a proof. */
const payload = new Uint8Array(400)

export function createSpeed(contender: Contender, env: typeof environment): Speed {
  const request = () => contender.request(PATH)
  const keys = crypto.subtle.generateKey(algorithm, false, ['sign'])

  /** Runs with requests that do not leave the page. */
  async function offline<T>(run: (sign: () => Promise<unknown>) => Promise<T>): Promise<T> {
    const { privateKey } = await keys
    const real = await request()
    if (real.status !== 200) throw new Error(`The server answered ${real.status}`)
    env.answer = new Response('{}', { headers: { 'dpop-nonce': real.headers.get('dpop-nonce') ?? '' } })
    try {
      return await run(() => crypto.subtle.sign(algorithm, privateKey, payload))
    } finally {
      env.answer = undefined
    }
  }

  return {
    sequential: (count) =>
      offline(async (sign) => {
        const samples: Sample[] = []
        while (samples.length < count) {
          samples.push({ request: await time(request), signature: await time(sign) })
        }
        return samples
      }),
    concurrent: (count) =>
      offline(async (sign) => {
        const all = (action: () => Promise<unknown>) => () =>
          Promise.all(Array.from({ length: count }, action))
        return { request: await time(all(request)), signature: await time(all(sign)) }
      }),
  }
}

async function time(run: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await run()
  return performance.now() - start
}
