import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { parseArgs } from 'node:util'
import { isRequired, requirements } from './requirements.ts'
import {
  type Evaluation,
  evaluate,
  groupBy,
  isFulfilled,
  isProven,
  parseReport,
  type Report,
  type RowResult,
} from './results.ts'

const usage = `Usage: npm run spec -- [--stage NAME] [--all]

Prints, stage by stage, which rows of the requirement matrix have a passing test.
Fails when a required row has none, when a test that names a row fails, or when a title names no row.

  --stage NAME   only stages whose name, or whose row IDs, begin with NAME
  --all          every row with the tests that prove it
  --help         this text`

const root = join(import.meta.dirname, '../..')
const resultsFolder = join(root, 'test/.results')
const width = Math.min(process.stdout.columns ?? 110, 130)
const testsShownPerFile = 4

const print = (line = ''): void => console.log(line)

function main(): number {
  const { values: options } = parseArgs({
    options: { stage: { type: 'string' }, all: { type: 'boolean' }, help: { type: 'boolean' } },
  })
  if (options.help) {
    print(usage)
    return 0
  }

  const reports = readReports()
  if (reports.size === 0) {
    print(`There are no test results in ${relative(root, resultsFolder)}/: run npm test first.`)
    return 1
  }

  const evaluation = evaluate(requirements, reports.values())
  const { stage } = options
  const rows = evaluation.rows.filter((row) => stage === undefined || isInStage(row, stage))
  if (rows.length === 0) {
    print(`No stage begins with "${stage}". The stages are:`)
    for (const name of byStage(evaluation.rows).keys()) print(`  ${name}`)
    return 1
  }

  for (const [name, stageRows] of byStage(rows)) {
    print(heading(name))
    if (options.all) printProofs(stageRows)
    else printStage(stageRows)
    print()
  }
  printTable(rows)
  print()
  printSources(reports)
  printProblems(evaluation)
  print()
  printVerdict(rows)
  return isFulfilled({ ...evaluation, rows }) ? 0 : 1
}

function readReports(): Map<string, Report> {
  const reports = new Map<string, Report>()
  for (const name of listResults()) {
    const report = parseReport(parseJson(join(resultsFolder, name)))
    if (report) reports.set(name, report)
  }
  return reports
}

function listResults(): string[] {
  try {
    return readdirSync(resultsFolder)
      .filter((name) => name.endsWith('.json'))
      .sort()
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return []
    throw error
  }
}

function parseJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch (cause) {
    throw new Error(`${relative(root, file)} cannot be read: run npm test again`, { cause })
  }
}

function isInStage({ requirement }: RowResult, name: string): boolean {
  const wanted = name.toLowerCase()
  return [requirement.stage, requirement.id].some((text) => text.toLowerCase().startsWith(wanted))
}

function byStage(rows: readonly RowResult[]): Map<string, RowResult[]> {
  return groupBy(rows, ({ requirement }) => requirement.stage)
}

function printStage(rows: readonly RowResult[]): void {
  const failing = rows.filter((row) => row.failing.length > 0)
  const untested = rows.filter((row) => !isProven(row) && row.failing.length === 0)

  printList('proven', wrap(ids(rows.filter(isProven))))
  printList(
    'failing',
    failing.flatMap((row) => [describe(row), ...failures(row)]),
  )
  printList('no test', untested.filter(({ requirement }) => requirement.scope === 'public').map(describe))
  for (const [note, exempt] of groupBy(untested, ({ requirement }) => requirement.note)) {
    if (note !== undefined) printList('exempt', [...wrap(ids(exempt)), `because ${note}`])
  }
}

function ids(rows: readonly RowResult[]): string {
  return rows.map(({ requirement }) => requirement.id).join(' ')
}

function printList(label: string, lines: readonly string[]): void {
  for (const [index, line] of lines.entries()) print(`  ${(index === 0 ? label : '').padEnd(9)}${line}`)
}

function printProofs(rows: readonly RowResult[]): void {
  for (const row of rows) {
    const { scope, note } = row.requirement
    print(`  ${describe(row)}`)
    if (scope !== 'public') print(`      exempt: ${note}`)
    for (const line of failures(row)) print(`      ${line}`)
    for (const [file, tests] of groupBy(row.passing, (test) => relative(root, test.file))) {
      const titles = new Set(tests.map(({ title }) => title))
      print(`      ${file}`)
      for (const title of [...titles].slice(0, testsShownPerFile)) print(`        ${title}`)
      if (titles.size > testsShownPerFile) print(`        and ${titles.size - testsShownPerFile} more`)
    }
    if (scope === 'public' && row.passing.length + row.failing.length === 0) print('      no test')
  }
}

function describe({ requirement }: RowResult): string {
  return `${requirement.id.padEnd(9)} ${requirement.level.padEnd(8)} ${requirement.text}`
}

function failures({ failing }: RowResult): string[] {
  return failing.map(({ file, title }) => `    fails: ${relative(root, file)}: ${title}`)
}

function printTable(rows: readonly RowResult[]): void {
  const columns = ['required', 'proven', 'no test', 'failing', 'optional', 'proven', 'exempt']
  const cells = (values: readonly (string | number)[]): string =>
    values.map((value, index) => String(value).padStart((columns[index]?.length ?? 0) + 2)).join('')
  const line = (stage: string, stageRows: readonly RowResult[]): string => {
    const required = stageRows.filter(({ requirement }) => isRequired(requirement))
    const optional = stageRows.filter(
      ({ requirement }) => requirement.scope === 'public' && !isRequired(requirement),
    )
    return `${stage.padEnd(34)}${cells([
      required.length,
      required.filter(isProven).length,
      required.filter(({ passing, failing }) => passing.length + failing.length === 0).length,
      required.filter(({ failing }) => failing.length > 0).length,
      optional.length,
      optional.filter(isProven).length,
      stageRows.length - required.length - optional.length,
    ])}`
  }

  const header = `${'Stage'.padEnd(34)}${cells(columns)}`
  print(header)
  print('-'.repeat(header.length))
  for (const [stage, stageRows] of byStage(rows)) print(line(stage, stageRows))
  print('-'.repeat(header.length))
  print(line('All', rows))
}

function printSources(reports: ReadonlyMap<string, Report>): void {
  for (const [name, { startedAt, tests }] of reports) {
    const minutes = Math.round((Date.now() - startedAt) / 60_000)
    print(`${name}: ${tests.length} tests, run ${minutes} min ago`)
  }
}

function printProblems({ unreadable, brokenFiles }: Evaluation): void {
  if (unreadable.size + brokenFiles.length > 0) print()
  for (const [word, tests] of unreadable) {
    print(`"${word}" is no row of the matrix:`)
    for (const { file, title } of tests) print(`  ${relative(root, file)}: ${title}`)
  }
  for (const { file, message } of brokenFiles) {
    print(`${relative(root, file)} failed outside of its tests: ${message.split('\n')[0]}`)
  }
}

function printVerdict(rows: readonly RowResult[]): void {
  const required = rows.filter(({ requirement }) => isRequired(requirement))
  const failing = rows.filter((row) => row.failing.length > 0).length
  print(`${required.filter(isProven).length} of ${required.length} required rows are proven.`)
  if (failing > 0) print(`${failing} of all rows ${failing === 1 ? 'has' : 'have'} failing tests.`)
}

function heading(text: string): string {
  return `${text}\n${'='.repeat(text.length)}`
}

function wrap(text: string): string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + word.length < width - 11)
      lines[lines.length - 1] = `${last} ${word}`
    else if (word !== '') lines.push(word)
  }
  return lines
}

process.exitCode = main()
