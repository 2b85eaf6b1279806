import { Agent, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import {
  type Answer,
  describe,
  describeTokenRequest,
  endToEnd,
  forward,
  makeUp,
  now,
  type Reply,
  rewrite,
  type Target,
} from './exchange.ts'
import { type LogEntry, type Match, matches, type Party, type WaitOptions } from './log.ts'

/** What to do to matching requests; every rule that matches applies, in the order they were added. */
export type Fault =
  | { kind: 'hold' | 'dropBefore' | 'dropAfter' }
  | { kind: 'answer'; answer: Answer }
  | { kind: 'rewriteJson'; patch: Record<string, unknown> }

export type Rule = Fault & { match: Match; times: number | 'always' }

interface Deferred<T> {
  promise: Promise<T>
  resolve(value: T): void
  reject(reason: unknown): void
}

interface ActiveRule {
  rule: Rule
  left: number
  held: Deferred<LogEntry>
  settled: Deferred<'release' | 'drop'>
}

const breaks = ({ kind }: Rule) => kind !== 'answer' && kind !== 'rewriteJson'

/** The way in to all servers: hands requests through, writes them down, and breaks what the rules say. */
export class Traffic {
  readonly entries: LogEntry[] = []
  readonly latency = new Map<Party, number>()
  /** For each listener, what closes its idle connections. */
  readonly closeIdle: (() => void)[] = []
  readonly #assets = new Map<string, Promise<Reply>>()
  readonly #agent = new Agent({ keepAlive: true })
  readonly #rules = new Map<number, ActiveRule>()
  readonly #watchers = new Set<() => void>()
  readonly #stopped = new AbortController()
  #ids = 0

  /**
   * Browsers send a request again, unasked, when a reused connection breaks before the answer. So while a rule may
   * break one, none is kept, and those that are open and idle are closed: what is dropped has been sent once.
   */
  add(rule: Rule): number {
    const id = ++this.#ids
    const active = {
      rule,
      left: rule.times === 'always' ? Number.POSITIVE_INFINITY : rule.times,
      held: deferred<LogEntry>(),
      settled: deferred<'release' | 'drop'>(),
    }
    active.held.promise.catch(() => {})
    this.#rules.set(id, active)
    if (breaks(rule)) for (const closeIdle of this.closeIdle) closeIdle()
    return id
  }

  /** Takes the rule away; what it holds is let go. */
  settle(id: number, how: 'release' | 'drop'): void {
    const active = this.#rules.get(id)
    this.#rules.delete(id)
    active?.settled.resolve(how)
    active?.held.reject(new Error('The rule was removed before a request matched it'))
  }

  /** Resolves with the first request the rule holds, once the server has answered it. */
  async held(id: number): Promise<LogEntry> {
    const active = this.#rules.get(id)
    if (!active) throw new Error(`No rule ${id}`)
    return active.held.promise
  }

  /** Resolves with the matching entries as soon as there are `count` of them in this phase. */
  async waitFor(match: Match, { count, phase, timeout }: Required<WaitOptions>): Promise<LogEntry[]> {
    const found = () =>
      this.entries.filter((entry) => matches(entry, match) && (phase === 'start' || entry.end !== undefined))
    const signal = AbortSignal.any([AbortSignal.timeout(timeout), this.#stopped.signal])
    const { promise, resolve, reject } = deferred<LogEntry[]>()
    const check = () => {
      const entries = found()
      if (entries.length >= count) resolve(entries)
    }
    const fail = () =>
      reject(new Error(`Saw ${found().length} of ${count} × ${JSON.stringify(match)} (${phase})`))
    this.#watchers.add(check)
    signal.addEventListener('abort', fail)
    check()
    try {
      return await promise
    } finally {
      this.#watchers.delete(check)
      signal.removeEventListener('abort', fail)
    }
  }

  stop(): void {
    this.#stopped.abort()
    for (const id of this.#rules.keys()) this.settle(id, 'drop')
    this.#agent.destroy()
  }

  listener(target: Target): RequestListener {
    return (req, res) => {
      this.#serve(target, req, res).catch(() => res.destroy())
    }
  }

  async #serve(target: Target, req: IncomingMessage, res: ServerResponse): Promise<void> {
    if (req.url?.startsWith('/@atproto/oauth-provider/~assets/'))
      return this.#serveAsset(target, req.url, res)
    const entry = describe(target, req, ++this.#ids)
    this.entries.push(entry)
    const close = (outcome: NonNullable<LogEntry['outcome']>, status?: number) => {
      if (entry.outcome) return
      Object.assign(entry, { end: now(), outcome }, status && { status })
      this.#changed()
    }
    const drop = () => {
      close('dropped')
      res.destroy()
    }
    res.on('close', () => close('abandoned'))

    const body = await buffer(req)
    if (req.method === 'POST' && entry.path === '/oauth/token') describeTokenRequest(entry, req, body)
    this.#changed()
    const rules = this.#claim(entry)
    const latency = this.latency.get(target.party)
    if (latency) await delay(latency, undefined, { signal: this.#stopped.signal })

    if (rules.some(({ rule }) => rule.kind === 'dropBefore')) return drop()
    let reply = await this.#reply(target, req, body, rules)
    for (const { rule, held, settled } of rules) {
      if (rule.kind === 'dropAfter') return drop()
      if (rule.kind === 'rewriteJson') reply = rewrite(reply, rule.patch)
      if (rule.kind === 'hold') {
        held.resolve(entry)
        if ((await settled.promise) === 'drop') return drop()
      }
    }
    close('answered', reply.status)
    const keepAlive = ![...this.#rules.values()].some(({ rule }) => breaks(rule))
    res.writeHead(reply.status, keepAlive ? reply.headers : { ...reply.headers, connection: 'close' })
    res.end(reply.body)
  }

  async #reply(target: Target, req: IncomingMessage, body: Buffer, rules: ActiveRule[]): Promise<Reply> {
    for (const { rule } of rules) if (rule.kind === 'answer') return makeUp(req, rule.answer)
    const headers = endToEnd(req.headers)
    if (rules.some(({ rule }) => rule.kind === 'rewriteJson')) delete headers['accept-encoding']
    const ask = (port: number) =>
      forward({ agent: this.#agent, port, method: req.method, path: req.url, headers }, body)
    let reply = await ask(target.port)
    if (req.url?.startsWith('/xrpc/com.atproto.identity.resolveHandle?')) {
      for (const port of target.siblings) if (reply.status === 400) reply = await ask(port)
    }
    return reply
  }

  /** Scripts and styles of the sign-in pages: many, immutable, slow to get from the PDS, and of no interest. */
  async #serveAsset({ port, origin }: Target, url: string, res: ServerResponse): Promise<void> {
    let asset = this.#assets.get(url)
    if (!asset) {
      asset = forward({
        agent: this.#agent,
        port,
        method: 'GET',
        path: url,
        headers: { host: new URL(origin).host },
      })
      this.#assets.set(url, asset)
    }
    const { status, headers, body } = await asset
    res.writeHead(status, headers).end(body)
  }

  #claim(entry: LogEntry): ActiveRule[] {
    const claimed = [...this.#rules.values()].filter(
      ({ rule, left }) => left > 0 && matches(entry, rule.match),
    )
    for (const active of claimed) active.left--
    for (const [id, { rule, left }] of this.#rules) {
      if (left === 0 && rule.kind !== 'hold') this.#rules.delete(id)
    }
    return claimed
  }

  #changed(): void {
    for (const check of this.#watchers) check()
  }
}

function deferred<T>(): Deferred<T> {
  const made = {} as Deferred<T>
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }))
  return made
}
