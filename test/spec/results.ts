import { isRequired, type Requirement } from './requirements.ts'

interface TestResult {
  /** Absolute path of the test file. */
  readonly file: string
  /** Title of the test, after those of the `describe` blocks around it. */
  readonly title: string
  readonly status: 'passed' | 'failed' | 'not run'
}

export interface Report {
  /** Milliseconds since the epoch. */
  readonly startedAt: number
  readonly tests: readonly TestResult[]
  readonly brokenFiles: readonly BrokenFile[]
}

/** A file that failed outside of its tests, so that nobody knows which of them are missing. */
interface BrokenFile {
  readonly file: string
  readonly message: string
}

export interface RowResult {
  readonly requirement: Requirement
  readonly passing: readonly TestResult[]
  readonly failing: readonly TestResult[]
}

export interface Evaluation {
  readonly rows: readonly RowResult[]
  /** References in titles that name no row, each with the tests that have it. */
  readonly unreadable: ReadonlyMap<string, readonly TestResult[]>
  readonly brokenFiles: readonly BrokenFile[]
}

interface VitestJson {
  startTime: number
  testResults: {
    name: string
    status: string
    message: string
    assertionResults: { fullName: string; status: string }[]
  }[]
}

const group = /\(([^()]*)\)/g
const separator = /[\s,;]+/
const rowId = /^[A-Z]+-\d\d$/
const mentionsRow = /[A-Z]+-\d\d(?!\d)/

/**
 * Finds the row IDs in the parentheses of a test title. A range or another shorthand is not an ID:
 * it is returned among the `unreadable` words.
 */
export function readRowIds(title: string): { ids: string[]; unreadable: string[] } {
  const ids = new Set<string>()
  const unreadable = new Set<string>()
  for (const [, content = ''] of title.matchAll(group)) {
    for (const word of content.split(separator)) {
      if (rowId.test(word)) ids.add(word)
      else if (mentionsRow.test(word)) unreadable.add(word)
    }
  }
  return { ids: [...ids], unreadable: [...unreadable] }
}

/** Reads what Vitest's `json` reporter wrote. Returns `undefined` for JSON of any other kind. */
export function parseReport(json: unknown): Report | undefined {
  if (!isVitestJson(json)) return undefined
  return {
    startedAt: json.startTime,
    tests: json.testResults.flatMap(({ name, assertionResults }) =>
      assertionResults.map(({ fullName, status }) => ({
        file: name,
        title: fullName.trim(),
        status: status === 'passed' || status === 'failed' ? status : 'not run',
      })),
    ),
    brokenFiles: json.testResults
      .filter(
        ({ status, assertionResults }) =>
          status === 'failed' && !assertionResults.some((assertion) => assertion.status === 'failed'),
      )
      .map(({ name, message }) => ({ file: name, message })),
  }
}

function isVitestJson(json: unknown): json is VitestJson {
  return typeof json === 'object' && json !== null && 'testResults' in json && Array.isArray(json.testResults)
}

/** Says for every row which tests prove it and which disprove it. */
export function evaluate(requirements: readonly Requirement[], reports: Iterable<Report>): Evaluation {
  const byId = new Map<string, TestResult[]>(requirements.map(({ id }) => [id, []]))
  const unreadable = new Map<string, TestResult[]>()
  const brokenFiles: BrokenFile[] = []
  for (const report of reports) {
    brokenFiles.push(...report.brokenFiles)
    for (const test of report.tests) {
      const found = readRowIds(test.title)
      for (const id of found.ids) append(byId.has(id) ? byId : unreadable, id, test)
      for (const word of found.unreadable) append(unreadable, word, test)
    }
  }
  const rows = requirements.map((requirement) => {
    const named = byId.get(requirement.id) ?? []
    return {
      requirement,
      passing: named.filter(({ status }) => status === 'passed'),
      failing: named.filter(({ status }) => status === 'failed'),
    }
  })
  return { rows, unreadable, brokenFiles }
}

/** A row is proven when a test that names it passes and none fails. */
export function isProven({ passing, failing }: RowResult): boolean {
  return passing.length > 0 && failing.length === 0
}

/** Whether every required row is proven, no row is disproven and every result could be read. */
export function isFulfilled({ rows, unreadable, brokenFiles }: Evaluation): boolean {
  return (
    unreadable.size === 0 &&
    brokenFiles.length === 0 &&
    rows.every((row) => row.failing.length === 0 && (isProven(row) || !isRequired(row.requirement)))
  )
}

export function groupBy<Key, Value>(
  values: Iterable<Value>,
  keyOf: (value: Value) => Key,
): Map<Key, Value[]> {
  const groups = new Map<Key, Value[]>()
  for (const value of values) append(groups, keyOf(value), value)
  return groups
}

function append<Key, Value>(map: Map<Key, Value[]>, key: Key, value: Value): void {
  const list = map.get(key)
  if (list) list.push(value)
  else map.set(key, [value])
}
