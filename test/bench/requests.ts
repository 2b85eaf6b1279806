import type { Contender } from './contenders.ts'
import type { Sample } from './page/speed.ts'
import { median } from './statistics.ts'
import { PATH, request, type Stage, withVisitor } from './visitor.ts'

export interface Requests {
  /** Whether a URL of somebody else's server, given to the client, is sent the access token. */
  tokenSentElsewhere: boolean
  /** Client time of one authorised request, in bare ECDSA signatures. */
  signaturesPerRequest: number
  /** Authorised requests in a second, as a share of the bare signatures in a second, all of them begun at once. */
  throughput: number
}

const AT_ONCE = 500
const WARM_UP = 200

export async function measureRequests(
  stage: Stage,
  contender: Contender,
  { requests, bursts }: { requests: number; bursts: number },
): Promise<Requests> {
  return withVisitor(stage, contender, async (visitor) => {
    await visitor.signIn(stage.alice)
    const { page } = visitor
    await page.eval((count) => window.bench.sequential(count), WARM_UP)
    const single = await page.eval((count) => window.bench.sequential(count), requests)
    const concurrent: Sample[] = []
    for (let i = 0; i < bursts; i++) {
      concurrent.push(await page.eval((count) => window.bench.concurrent(count), AT_ONCE))
    }
    const { foreign } = stage.site
    foreign.authorized = false
    await request(page, `${foreign.origin}${PATH}`)
    return {
      tokenSentElsewhere: foreign.authorized,
      signaturesPerRequest: medianOf(single, 'request') / medianOf(single, 'signature'),
      throughput: medianOf(concurrent, 'signature') / medianOf(concurrent, 'request'),
    }
  })
}

const medianOf = (samples: Sample[], key: keyof Sample) => median(samples.map((sample) => sample[key]))
