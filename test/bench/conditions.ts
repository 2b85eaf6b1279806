import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type Contender, root } from './contenders.ts'
import type { Survival } from './survival.ts'
import { request, type Stage, withVisitor } from './visitor.ts'

const HOUR_MS = 3_600_000
/** How wrong a device's clock is: behind, and ahead. */
const OFFSETS_MS = [-5 * HOUR_MS, 5 * HOUR_MS]

/** Signs in, makes a request, and renews the tokens on devices whose clocks are hours off. */
export async function measureClock(stage: Stage, contender: Contender): Promise<Survival> {
  const { network, alice } = stage
  let survived = 0
  for (const offset of OFFSETS_MS) {
    await withVisitor(stage, contender, async (visitor) => {
      const at = (url: string) => {
        const target = new URL(url)
        target.searchParams.set('clock', String(offset))
        return target.href
      }
      const page = await visitor.open(at(visitor.url))
      const url = await page.eval((handle) => window.bench.authorize(handle).catch(() => ''), alice.handle)
      if (!url) return
      const back = await visitor.open(at(await network.authorize(url, alice)))
      await back.eval(() => window.bench.start().catch(() => {}))
      const before = await request(back)
      await back.eval(() =>
        window.bench.refresh().then(
          () => {},
          () => {},
        ),
      )
      if (before === 200 && (await request(back)) === 200) survived++
    })
  }
  return { survived, runs: OFFSETS_MS.length }
}

/** Whether a script on the page could read the private key that a sign-in makes. */
export function measureKey(stage: Stage, contender: Contender): Promise<boolean> {
  return withVisitor(stage, contender, async (visitor) => {
    await visitor.open()
    await visitor.page.eval((handle) => window.bench.authorize(handle), stage.alice.handle)
    return visitor.page.eval(() => window.bench.environment.readableKey)
  })
}

const NODE_MS = 5_000

/** What comes of making a client in Node, as an app does that is rendered on a server. */
export async function measureServer({ entries }: Contender): Promise<'works' | 'throws' | 'keeps it alive'> {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', entries.server], {
    cwd: root,
    stdio: 'ignore',
    timeout: NODE_MS,
  })
  const [code, signal] = await once(child, 'exit')
  if (signal) return 'keeps it alive'
  return code === 0 ? 'works' : 'throws'
}
