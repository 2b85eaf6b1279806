import { describeMatch, type FakeRequest, matches, type RequestMatch } from './exchange.ts'
import type { Handler } from './faults.ts'

/** A handler put in front of the servers by `network.on`. */
export interface Fault {
  /** How many requests it has answered. */
  readonly calls: number
  off(): void
}

interface Rule {
  readonly match: RequestMatch
  readonly handler: Handler
  readonly limited: boolean
  left: number
  calls: number
}

/** The handlers in front of the servers; the newest that matches is asked first. */
export class Rules {
  readonly #rules: Rule[] = []

  add(match: RequestMatch, handler: Handler, times: number | undefined): Fault {
    const limited = times !== undefined
    const rule: Rule = { match, handler, limited, left: times ?? Number.POSITIVE_INFINITY, calls: 0 }
    this.#rules.push(rule)
    return {
      get calls() {
        return rule.calls
      },
      off: () => {
        rule.left = 0
      },
    }
  }

  answer(request: FakeRequest, honest: () => Promise<Response>): Promise<Response> {
    const ask = async (from: number): Promise<Response> => {
      for (let index = from; index >= 0; index--) {
        const rule = this.#rules[index]
        if (!rule || rule.left <= 0 || !matches(rule.match, request)) continue
        rule.left--
        rule.calls++
        return rule.handler(request, () => ask(index - 1))
      }
      return honest()
    }
    return ask(this.#rules.length - 1)
  }

  /** Limited handlers that never had anything to answer: a test that did not test what it says. */
  unused(): string[] {
    return this.#rules
      .filter(({ limited, calls }) => limited && calls === 0)
      .map(({ match }) => describeMatch(match))
  }
}
