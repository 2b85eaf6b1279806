/**
 * Has Signet and the other OAuth clients for browsers do the same work in one browser on a network of real servers,
 * prints what it took, and writes it to table.md and chart.svg beside this file. Nothing fails on a time.
 *
 *     npm run bench               takes some minutes
 *     npm run bench -- --quick    one repetition of each, writes no file
 *     npm run bench -- --json     prints JSON instead of the table
 */
import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { findEngine } from '../engines/find.ts'
import { launch } from '../engines/launch.ts'
import type { Account } from '../network/network.ts'
import { startNetworkProcess } from '../network/start.ts'
import { measureBytes } from './bytes.ts'
import { drawChart } from './chart.ts'
import { measureClock, measureKey, measureServer } from './conditions.ts'
import { type Contender, contenders, versionOf } from './contenders.ts'
import { formatMarkdown, formatText } from './report.ts'
import { measureRequests } from './requests.ts'
import type { Result, Results } from './results.ts'
import { leastRounds, measureRounds } from './rounds.ts'
import { serveSite } from './site.ts'
import { measureOtherAccount, measureReload, measureTabs } from './survival.ts'
import type { Stage } from './visitor.ts'

const { values: flags } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, json: { type: 'boolean', default: false } },
})
const amounts = flags.quick
  ? { rounds: 1, requests: 200, bursts: 3, runs: 1, tabs: 4, manyTabs: 6 }
  : { rounds: 2, requests: 2000, bursts: 9, runs: 10, tabs: 10, manyTabs: 50 }

const cleanups: (() => Promise<unknown>)[] = []
let interruption: NodeJS.Signals | undefined
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(name, () => {
    interruption = name
    void cleanUp().finally(() => process.exit(1))
  })
}
try {
  const results = await bench()
  console.log(flags.json ? JSON.stringify(results, null, 2) : `\n${formatText(results)}`)
  if (!flags.quick) {
    await writeFile(new URL('table.md', import.meta.url), formatMarkdown(results))
    await writeFile(new URL('chart.svg', import.meta.url), drawChart(results))
  }
} catch (error) {
  if (!interruption) throw error
  console.error(`Interrupted (${interruption})`)
  process.exitCode = 1
} finally {
  await cleanUp()
}

async function cleanUp(): Promise<void> {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
}

async function bench(): Promise<Results> {
  const engine = findEngine('chromium')
  if (!engine) throw new Error('There is no Chromium: npm run setup installs it')
  const network = await startNetworkProcess()
  cleanups.push(() => network.stop())
  const site = await serveSite(network)
  cleanups.push(() => site.close())
  const browser = await launch(engine)
  cleanups.push(() => browser.close())
  const [alice, bob] = network.accounts as [Account, Account]
  const stage: Stage = { browser, network, site, alice, bob }

  const clients: Partial<Results['clients']> = {}
  for (const contender of contenders) clients[contender.name] = await measure(stage, contender)
  return {
    date: new Date().toISOString().slice(0, 10),
    browser: await nameOfBrowser(stage),
    pds: versionOf('@atproto/pds'),
    clients: clients as Results['clients'],
  }
}

async function measure(stage: Stage, contender: Contender): Promise<Result> {
  const { name } = contender
  const { runs, tabs, manyTabs } = amounts
  const step = async <T>(title: string, work: Promise<T>): Promise<T> => {
    console.error(`${name}: ${title}`)
    return work
  }
  const rounds = []
  while (rounds.length < amounts.rounds) rounds.push(await step('rounds', measureRounds(stage, contender)))
  const signedIn = await step('an answer for somebody else', measureOtherAccount(stage, contender))
  return {
    version: versionOf(contender.package),
    rounds: leastRounds(rounds),
    requests: await step('requests', measureRequests(stage, contender, amounts)),
    tabs: await step(`${tabs} tabs`, measureTabs(stage, contender, runs, tabs)),
    manyTabs: await step(`${manyTabs} tabs`, measureTabs(stage, contender, Math.ceil(runs / 4), manyTabs)),
    reload: await step('reload', measureReload(stage, contender, runs)),
    reloadGuarded:
      name === 'signet'
        ? await step('reload, guarded', measureReload(stage, contender, runs, { guarded: true }))
        : undefined,
    otherAccount: signedIn === undefined ? 'nobody' : 'Bob',
    clock: await step('wrong clocks', measureClock(stage, contender)),
    readableKey: await step('key', measureKey(stage, contender)),
    server: await step('Node', measureServer(contender)),
    bytes: await step('bytes', measureBytes(contender)),
  }
}

async function nameOfBrowser({ browser, site }: Stage): Promise<string> {
  const context = await browser.newContext()
  const page = await context.newPage()
  await page.goto(`${site.origin}/blank.html`)
  const agent = await page.eval(() => navigator.userAgent)
  await context.close()
  return `Chromium ${/Chrome\/(\d+)/.exec(agent)?.[1]}`
}
