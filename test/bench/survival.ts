import { setTimeout as sleep } from 'node:timers/promises'
import type { Contender } from './contenders.ts'
import { type Stage, survives, type Visitor, withVisitor } from './visitor.ts'

export interface Survival {
  /** Runs in which the session lived on. */
  survived: number
  runs: number
}

export interface Tabs extends Survival {
  tabs: number
  /** Token requests of each run. */
  tokenRequests: number[]
}

const refreshing = { grantType: 'refresh_token' }
const LIFETIME_S = 2
/** Clients renew a token some time before it expires; in tabs whose clock is this much behind they do not yet. */
const ASLEEP_MS = -300_000

/** Several tabs that were loaded while the token was good ask at the same moment when it is no longer. */
export async function measureTabs(
  stage: Stage,
  contender: Contender,
  runs: number,
  tabs: number,
): Promise<Tabs> {
  const { network, alice } = stage
  const tokenRequests: number[] = []
  let survived = 0
  await withVisitor(stage, contender, async (visitor) => {
    for (let run = 0; run < runs; run++) {
      await visitor.signIn(alice, LIFETIME_S)
      const issued = Date.now()
      await visitor.open(`${stage.site.origin}/blank.html`)
      const opened = await Promise.all(
        Array.from({ length: tabs }, () => visitor.newTab(`${visitor.url}?clock=${ASLEEP_MS}`)),
      )
      await Promise.all(opened.map((tab) => tab.eval(() => window.bench.start())))
      await sleep(Math.max(0, issued + LIFETIME_S * 1000 - Date.now()))
      await network.log.clear()
      const at = Date.now() + 500
      await Promise.all(
        opened.map((tab) =>
          tab.eval(async (at) => {
            window.bench.environment.clockOffset = 0
            await new Promise((done) => setTimeout(done, at - Date.now()))
            await window.bench.request('/xrpc/com.atproto.server.getSession').catch(() => {})
          }, at),
        ),
      )
      tokenRequests.push((await network.log.entries(refreshing)).length)
      if (await survives(visitor)) survived++
    }
  })
  return { survived, runs, tabs, tokenRequests }
}

/** A page is reloaded when the server has replaced the tokens and the answer is still on its way. */
export async function measureReload(
  stage: Stage,
  contender: Contender,
  runs: number,
  { guarded = false } = {},
): Promise<Survival> {
  const { network, alice } = stage
  let survived = 0
  await withVisitor(stage, contender, async (visitor) => {
    if (guarded) await registerGuard(visitor)
    for (let run = 0; run < runs; run++) {
      await visitor.signIn(alice)
      const { page } = visitor
      const hold = await network.hold(refreshing)
      await page.start(() => window.bench.refresh())
      await hold.held
      await page.goto(visitor.url)
      await page.eval(() => window.bench.start().catch(() => {}))
      await hold.release()
      if (await survives(visitor)) survived++
    }
  })
  return { survived, runs }
}

async function registerGuard(visitor: Visitor): Promise<void> {
  const page = await visitor.open()
  await page.eval(async () => {
    await navigator.serviceWorker.register('/service-worker.js')
    await navigator.serviceWorker.ready
  })
}

/** Who is signed in when Alice was asked for and the server signs in Bob; `undefined`: nobody. */
export async function measureOtherAccount(stage: Stage, contender: Contender): Promise<string | undefined> {
  const { network, alice, bob } = stage
  return withVisitor(stage, contender, async (visitor) => {
    const page = await visitor.open()
    const url = await page.eval((handle) => window.bench.authorize(handle), alice.handle)
    const callback = await network.authorize(url, alice)
    await network.rewriteJson({ grantType: 'authorization_code' }, { sub: bob.did })
    const back = await visitor.open(callback)
    return (await back.eval(() => window.bench.start().catch(() => undefined))) ?? undefined
  })
}
