import { describe, expect, test } from 'vitest'
import { drawChart } from '../../bench/chart.ts'
import { formatMarkdown, formatText } from '../../bench/report.ts'
import { type Result, type Results, rows } from '../../bench/results.ts'

const result = (over: Partial<Result> = {}): Result => ({
  version: '1.2.3',
  rounds: {
    signIn: 4,
    signInPrefetched: undefined,
    callback: 2,
    firstAnswer: 2,
    firstAnswerLater: 3,
    refreshCold: 2,
    refreshWarm: 1,
    expired: 5,
  },
  requests: { signaturesPerRequest: 1.449, throughput: 0.666, tokenSentElsewhere: false },
  tabs: { survived: 5, runs: 5, tabs: 10, tokenRequests: [1, 1, 1, 1, 1] },
  manyTabs: { survived: 2, runs: 3, tabs: 50, tokenRequests: [1, 1, 1] },
  reload: { survived: 0, runs: 5 },
  reloadGuarded: undefined,
  otherAccount: 'nobody',
  clock: { survived: 2, runs: 2 },
  readableKey: false,
  server: 'works',
  bytes: { whole: 28_449, restore: 16_251 },
  ...over,
})

const results: Results = {
  date: '2030-01-02',
  browser: 'Chromium 200',
  pds: '0.9.9',
  clients: {
    signet: result(),
    reference: result({
      requests: { signaturesPerRequest: 35.4, throughput: 0.04, tokenSentElsewhere: true },
      tabs: { survived: 3, runs: 5, tabs: 10, tokenRequests: [4, 1, 2, 1, 3] },
    }),
    atcute: result({ version: '<4>' }),
  },
}

const cellsOf = (label: RegExp) => {
  const row = rows(results).find((each) => label.test(each.label))
  return Object.values(results.clients).map((each) => row?.cell(each))
}

describe('the figures', () => {
  test.each([
    [/in bare signatures/, ['1.4 ×', '35 ×', '1.4 ×']],
    [/throughput/, ['67 %', '4 %', '67 %']],
    [/^Token requests/, ['1', '1–4', '1']],
    [/50 tabs/, ['2 of 3', '2 of 3', '2 of 3']],
    [/key/, ['no', 'no', 'no']],
    [/10 tabs/, ['5 of 5', '3 of 5', '5 of 5']],
    [/prefetch/, ['–', '–', '–']],
    [/foreign/, ['no', 'yes', 'no']],
    [/^Bytes, all/, ['28.4 kB', '28.4 kB', '28.4 kB']],
  ])('%s are %j', (label, expected) => {
    expect(cellsOf(label)).toEqual(expected)
  })
})

describe('the table', () => {
  test('has its columns below each other on a terminal', () => {
    const lines = formatText(results)
      .split('\n')
      .slice(0, 1 + rows(results).length)
    const [head = ''] = lines
    expect(head).toMatch(/^ +Signet +reference +atcute$/)
    expect(new Set(lines.map((line) => line.length))).toEqual(new Set([head.length]))
  })

  test('says what it was taken on', () => {
    const taken = 'Taken on 2030-01-02 in Chromium 200 against @atproto/pds 0.9.9'
    expect(formatText(results)).toContain(taken)
    expect(formatMarkdown(results)).toContain(taken)
  })

  test('has the same number of cells in every row of its Markdown', () => {
    const lines = formatMarkdown(results)
      .split('\n')
      .filter((line) => line.startsWith('|'))
    expect(lines).toHaveLength(rows(results).length + 2)
    expect(lines.filter((line) => line.split('|').length !== 6)).toEqual([])
  })
})

describe('the chart', () => {
  const chart = drawChart(results)

  test('says in words what its bars show', () => {
    expect(chart).toContain('aria-labelledby="title desc"')
    expect(chart).toMatch(/<title id="title">.+<\/title>/)
    expect(chart).toMatch(/<desc id="desc">.*One authorised request: Signet 1\.4 ×, .* 35 ×/)
  })

  test('has a colour scheme for dark pages and loads nothing', () => {
    expect(chart).toContain('prefers-color-scheme: dark')
    expect(chart.match(/https?:[^"]+/g)).toEqual(['http://www.w3.org/2000/svg'])
  })

  test('escapes what is not its own', () => {
    expect(chart).toContain('&#60;4&#62;')
    expect(chart).not.toContain('<4>')
  })

  test('draws the longest bar of each panel as long as the others', () => {
    const widths = [...chart.matchAll(/class="reference" x="240".*?width="(\d+)"/g)].map(([, width]) => width)
    expect(widths).toContain('440')
  })
})
