import { readFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { inject } from 'vitest'
import { outcome, serveApp, signIn } from '../e2e/app.ts'
import type { App } from '../e2e/fixture/main.ts'
import type { Context, Page } from '../engines/index.ts'
import { poll } from '../engines/page.ts'
import type { Account, ActiveFault, ConnectedNetwork, Hold, Match } from '../network/network.ts'
import { type Deeds, findFaults, type Verdict } from './check.ts'
import { type Action, type FaultKind, printSchedule, type Schedule } from './schedule.ts'

declare global {
  interface Window {
    chaos: {
      /** Calls that have been begun and not ended. */
      open: number
      run(call: Promise<unknown> | undefined): void
    }
  }
}

/** Longer than any call may take. */
const CALL_MS = 75_000
const path = '/xrpc/com.atproto.server.getSession'
const hasEnded = ['revoked', 'rotation_lost', 'expired']
const refreshing: Match = { grantType: 'refresh_token' }

/** Runs in the page before anything else. What it reports survives the page. */
function watch(): void {
  const report = (what: string, reason: unknown) => {
    const { name, message, stack } = Object(reason)
    navigator.sendBeacon('/failures', `${what}: ${name}: ${message ?? reason}\n${stack}`)
  }
  let leaving = false
  addEventListener('pagehide', () => {
    leaving = true
  })
  addEventListener('unhandledrejection', ({ reason }) => leaving || report('unhandled rejection', reason))
  addEventListener('error', ({ error, message }) => leaving || report('uncaught', error ?? message))
  // Not by way of `window`: in a call that outlives a reload that is the next page's.
  const chaos: Window['chaos'] = {
    open: 0,
    run(call) {
      chaos.open++
      Promise.resolve(call)
        .catch((error) => {
          if (!window.signet.isOAuthError(error)) report('not an OAuthError', error)
        })
        .finally(() => {
          chaos.open--
        })
    },
  }
  window.chaos = chaos
}

/** Runs a schedule in the context, and throws what was wrong with what came of it. */
export async function runSchedule(
  schedule: Schedule,
  { context, network }: { context: Context; network: ConnectedNetwork },
): Promise<void> {
  const failures: string[] = []
  const worker = await readFile(new URL('../../dist/service-worker/standalone.js', import.meta.url))
  const html = await readFile(join(inject('fixture'), 'index.html'), 'utf8')
  const site = await serveApp(network, {
    pages: {
      '/': html.replace('<head>', `<head><script>(${watch})()</script>`),
      '/service-worker.js': (_request: IncomingMessage, response: ServerResponse) => {
        response.setHeader('content-type', 'text/javascript')
        response.end(worker)
      },
      '/failures': async (request: IncomingMessage, response: ServerResponse) => {
        failures.push(await text(request))
        response.end()
      },
    },
  })
  const accounts = ['alice.test', 'carol.test']
    .slice(0, schedule.accounts)
    .map((handle) => network.accounts.find((known) => known.handle === handle) as Account)
  const run = new Run(schedule, context, network, site, accounts)
  try {
    await run.begin()
    for (const action of schedule.actions) await run.act(action)
    failures.push(...(await run.end()))
  } catch (error) {
    failures.push(`broke off: ${error}`)
  } finally {
    await run.close()
    await site.close()
  }
  if (failures.length > 0) throw new Error(`${failures.join('\n')}\n${printSchedule(schedule)}`)
}

const now = () => performance.timeOrigin + performance.now()

class Run {
  readonly #schedule: Schedule
  readonly #context: Context
  readonly #network: ConnectedNetwork
  readonly #site: Awaited<ReturnType<typeof serveApp>>
  readonly #accounts: readonly Account[]
  readonly #deeds: Deeds[]
  readonly #tabs: Page[] = []
  readonly #faults: ActiveFault[] = []
  readonly #holds: Hold[] = []

  constructor(
    schedule: Schedule,
    context: Context,
    network: ConnectedNetwork,
    site: Awaited<ReturnType<typeof serveApp>>,
    accounts: readonly Account[],
  ) {
    this.#schedule = schedule
    this.#context = context
    this.#network = network
    this.#site = site
    this.#accounts = accounts
    this.#deeds = accounts.map(() => ({
      guarded: schedule.guarded,
      expired: false,
      asked: 0,
      signedOut: false,
      forgotten: [],
      gone: [],
    }))
  }

  async begin(): Promise<void> {
    const first = await this.#open()
    if (this.#schedule.guarded) {
      await first.eval(async () => {
        await navigator.serviceWorker.register('/service-worker.js')
        await navigator.serviceWorker.ready
      })
    }
    for (const account of this.#accounts) await signIn(first, this.#network, account)
    while (this.#tabs.length < this.#schedule.tabs) await this.#open()
    await this.#network.log.clear()
    await this.#network.setLatency(this.#schedule.latency)
  }

  async act(action: Action): Promise<void> {
    switch (action.does) {
      case 'request':
        return this.#tab(action).start(
          ({ did, path }) =>
            window.chaos.run(window.app.client.restore(did).then((session) => session.fetch(path))),
          { did: this.#account(action).did, path },
        )
      case 'refresh':
        return this.#refresh(this.#tab(action), action)
      case 'refreshEverywhere':
        for (const tab of this.#tabs) await this.#refresh(tab, action)
        return
      case 'switch':
        return this.#tab(action).start(
          (did) => window.chaos.run(window.app.client.switchAccount(did)),
          this.#account(action).did,
        )
      case 'signOut':
        this.#deedsOf(action).signedOut = true
        return this.#tab(action).start(
          (did) => window.chaos.run(window.app.client.signOut(did)),
          this.#account(action).did,
        )
      case 'open':
        await this.#open()
        return
      case 'reload': {
        this.#leave()
        const tab = this.#tab(action)
        await tab.reload()
        this.#leave()
        await outcome(tab)
        return
      }
      case 'close': {
        this.#leave()
        const [tab] = this.#tabs.splice(action.tab % this.#tabs.length, 1)
        await tab?.close()
        this.#leave()
        if (this.#tabs.length === 0) await this.#open()
        return
      }
      case 'forget':
        for (const { forgotten } of this.#deeds) forgotten.push(now())
        return this.#tab(action).start(() => indexedDB.deleteDatabase('signet:default'))
      case 'jump':
        this.#site.clockOffset += action.ms
        for (const deeds of this.#deeds) deeds.expired = true
        for (const tab of this.#tabs) {
          await tab.eval((ms) => {
            window.clock.offset += ms
          }, action.ms)
        }
        return
      case 'lifetime':
        for (const deeds of this.#deeds) deeds.expired = true
        return this.#network.setTokenLifetime(action.seconds)
      case 'offline': {
        const party = this.#account(action).pdsIndex === 0 ? 'pds1' : 'pds2'
        this.#faults.push(await this.#network.offline(party))
        return
      }
      case 'online':
        return this.#mend()
      case 'settle':
        for (const hold of this.#holds.splice(0)) await hold[action.how]()
        return
      case 'fault':
        return this.#fault(action.kind, action.on === 'refresh' ? refreshing : { path })
      case 'pause':
        return delay(action.ms)
    }
  }

  /** Mends everything, asks the server how it is with each account, and says what is wrong. */
  async end(): Promise<string[]> {
    for (const hold of this.#holds.splice(0)) await hold.release()
    await this.#mend()
    await this.#network.setTokenLifetime(3600)
    await this.#network.setLatency(0)
    for (const tab of this.#tabs) await ended(tab)
    const verdicts: Verdict[] = []
    for (const [index, { did }] of this.#accounts.entries()) {
      const codes = []
      this.#deedsOf({ account: index }).asked++
      for (const tab of this.#tabs) codes.push(await prove(tab, did, codes.length === 0))
      verdicts.push({ statuses: [], served: codes.every((code) => code === undefined), code: codes[0] })
    }
    const isForgotten = this.#deeds.some(({ forgotten }) => forgotten.length > 0)
    const found: string[] = []
    const states = await poll(
      async () => {
        const states: [string, string][][] = []
        for (const tab of this.#tabs) {
          states.push(
            await tab.eval(() => {
              const { accounts } = window.app.client
              return accounts.map(({ did, status }) => [did, status] as [string, string])
            }),
          )
        }
        // Where storage was deleted, a page that was loaded since knows nothing, and what has ended is written nowhere.
        const isKept = (status: string | undefined) =>
          !isForgotten || (status !== undefined && !hasEnded.includes(status))
        const agree = this.#accounts.every(({ did }) => {
          const statuses = states.map((state) => new Map(state).get(did)).filter(isKept)
          return new Set(statuses).size <= 1
        })
        found[0] = `the tabs to agree: ${JSON.stringify({ states, verdicts })}`
        return agree ? states : undefined
      },
      () => found[0] ?? '',
      10_000,
    )
    const log = await this.#network.log.entries({ from: this.#site.origin })
    return this.#accounts.flatMap(({ did, handle, pdsIndex }, index) => {
      const party = `pds${pdsIndex + 1}`
      const deeds = this.#deeds[index] as Deeds
      const verdict = verdicts[index] as Verdict
      verdict.statuses = states.map((state) => new Map(state).get(did))
      const entries = log.filter((entry) => entry.party === party)
      return findFaults(entries, deeds, verdict).map((fault) => `${handle}: ${fault}`)
    })
  }

  async close(): Promise<void> {
    for (const hold of this.#holds.splice(0)) await hold.drop()
    await this.#mend()
    await this.#network.setTokenLifetime(3600)
    await this.#network.setLatency(0)
    for (const tab of this.#tabs.splice(0)) await tab.close()
  }

  async #open(): Promise<Page> {
    const tab = await this.#context.newPage()
    this.#tabs.push(tab)
    await tab.goto(`${this.#site.origin}/`)
    await outcome(tab)
    return tab
  }

  async #refresh(tab: Page, by: { account: number }): Promise<void> {
    this.#deedsOf(by).asked++
    await tab.start(
      (did) => window.chaos.run(window.app.client.restore(did).then((session) => session.refresh())),
      this.#account(by).did,
    )
  }

  async #fault(kind: FaultKind, match: Match): Promise<void> {
    if (kind === 'hold') this.#holds.push(await this.#network.hold(match))
    else if (kind === 'serverError')
      this.#faults.push(await this.#network.answer(match, { status: 500, body: 'Not today' }))
    else if (kind === 'tooManyRequests')
      this.#faults.push(
        await this.#network.answer(match, { status: 429, headers: { 'retry-after': '1' }, body: {} }),
      )
    else this.#faults.push(await this.#network[kind](match))
  }

  async #mend(): Promise<void> {
    for (const fault of this.#faults.splice(0)) await fault.remove()
  }

  #leave(): void {
    for (const { gone } of this.#deeds) gone.push(now())
  }

  #tab({ tab }: { tab: number }): Page {
    return this.#tabs[tab % this.#tabs.length] as Page
  }

  #account({ account }: { account: number }): Account {
    return this.#accounts[account % this.#accounts.length] as Account
  }

  #deedsOf({ account }: { account: number }): Deeds {
    return this.#deeds[account % this.#accounts.length] as Deeds
  }
}

/** Waits until every call that was begun in the tab has ended. */
async function ended(tab: Page): Promise<void> {
  await poll(
    () => tab.eval(() => window.chaos.open === 0),
    async () => `the end of ${await tab.eval(() => window.chaos.open)} calls`,
    CALL_MS,
  )
}

/** Error code, or status, that says that the account cannot be used in this tab; `undefined` when it can. */
async function prove(tab: Page, did: string, refresh: boolean): Promise<string | undefined> {
  await tab.start(
    ({ did, path, refresh }) => {
      const { app } = window
      delete app.answer
      const { client }: App = app
      const proof = async () => {
        const session = await client.restore(did)
        if (refresh) await session.refresh()
        return (await session.fetch(path)).status
      }
      window.chaos.run(
        proof().then(
          (status) => {
            app.answer = String(status)
          },
          (error) => {
            app.answer = error.code
            throw error
          },
        ),
      )
    },
    { did, path, refresh },
  )
  const answer = await poll(
    () => tab.eval(() => window.app.answer),
    () => `an answer for ${did}`,
    CALL_MS,
  )
  return answer === '200' ? undefined : answer
}
