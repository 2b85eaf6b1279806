import { describe, expect, test } from 'vitest'
import { isRequired, type Requirement, requirements } from '../../spec/requirements.ts'
import { evaluate, isFulfilled, isProven, parseReport, readRowIds } from '../../spec/results.ts'

describe('requirements', () => {
  test('have unique, well-formed IDs', () => {
    const ids = requirements.map(({ id }) => id)
    expect(new Set(ids).size).toBe(ids.length)
    for (const id of ids) expect(id).toMatch(/^[A-Z]+-\d\d$/)
  })

  test('are numbered without a gap, stage by stage', () => {
    const next = new Map<string, number>()
    for (const { id } of requirements) {
      const [prefix = '', number] = id.split('-')
      expect(Number(number), id).toBe((next.get(prefix) ?? 0) + 1)
      next.set(prefix, Number(number))
    }
  })

  test.each([
    ['MUST', 178],
    ['MUST NOT', 3],
    ['SHOULD', 51],
    ['MAY', 13],
  ] as const)('have %s %i times', (level, count) => {
    expect(requirements.filter((row) => row.level === level)).toHaveLength(count)
  })

  test('are 245 in 18 stages', () => {
    expect(requirements).toHaveLength(245)
    expect(new Set(requirements.map(({ stage }) => stage)).size).toBe(18)
  })

  test('are single sentences', () => {
    for (const { id, text } of requirements) expect(text, id).toMatch(/^\S.{10,110}\.$/)
  })

  test('say why they do not bind a public client exactly when they do not', () => {
    for (const { id, scope, note } of requirements) expect(note !== undefined, id).toBe(scope !== 'public')
  })

  test('exempt no rule but those of confidential clients in the stages that are implemented', () => {
    const exempt = requirements.filter(
      (row) => /^MUST/.test(row.level) && row.scope !== 'public' && row.scope !== 'later',
    )
    expect(exempt.map(({ id }) => id)).toEqual(['CMETA-11', 'DPOP-22', 'REV-04'])
    expect(requirements.filter(isRequired)).toHaveLength(154)
  })
})

describe('readRowIds', () => {
  test('reads the IDs in parentheses', () => {
    expect(readRowIds('refuses another iss (CB-03)').ids).toEqual(['CB-03'])
    expect(readRowIds('refuses another iss (CB-03, CB-04)').ids).toEqual(['CB-03', 'CB-04'])
    expect(readRowIds('callback (CB-01) refuses another iss (CB-03, CB-03)').ids).toEqual(['CB-01', 'CB-03'])
  })

  test('leaves other references alone', () => {
    expect(readRowIds('retries (RFC 9449 §9, G02, DPOP-10) with SHA-256 (INV4, ES-256)')).toEqual({
      ids: ['DPOP-10'],
      unreadable: [],
    })
  })

  test('does not read IDs outside of parentheses', () => {
    expect(readRowIds('CB-03: refuses another iss')).toEqual({ ids: [], unreadable: [] })
  })

  test.each(['ASM-05…ASM-10', 'ASM-05-10', 'ASM-05/06', 'ASM-05..10'])('takes %s for no ID', (shorthand) => {
    expect(readRowIds(`checks much (${shorthand})`)).toEqual({ ids: [], unreadable: [shorthand] })
  })
})

describe('parseReport', () => {
  test('reads what Vitest writes', () => {
    const report = parseReport(
      vitestJson({
        '/repo/test/unit/a.test.ts': {
          ' works': 'passed',
          ' breaks': 'failed',
          ' waits': 'pending',
          ' rests': 'skipped',
        },
      }),
    )
    expect(report).toEqual({
      startedAt: 1_700_000_000_000,
      brokenFiles: [],
      tests: [
        { file: '/repo/test/unit/a.test.ts', title: 'works', status: 'passed' },
        { file: '/repo/test/unit/a.test.ts', title: 'breaks', status: 'failed' },
        { file: '/repo/test/unit/a.test.ts', title: 'waits', status: 'not run' },
        { file: '/repo/test/unit/a.test.ts', title: 'rests', status: 'not run' },
      ],
    })
  })

  test('names a file that failed without a failing test', () => {
    const json = vitestJson({ '/repo/a.test.ts': {}, '/repo/b.test.ts': { ' works': 'passed' } })
    Object.assign(json.testResults[0] ?? expect.unreachable(), {
      status: 'failed',
      message: 'Cannot find module',
    })
    expect(parseReport(json)?.brokenFiles).toEqual([
      { file: '/repo/a.test.ts', message: 'Cannot find module' },
    ])
  })

  test.each([null, [], {}, 'text', { testResults: {} }])('takes %j for something else', (json) => {
    expect(parseReport(json)).toBeUndefined()
  })
})

describe('evaluate', () => {
  const rows: Requirement[] = [
    { id: 'AA-01', level: 'MUST', stage: 'A', text: 'One.', scope: 'public' },
    { id: 'AA-02', level: 'MUST NOT', stage: 'A', text: 'Two.', scope: 'public' },
    { id: 'AA-03', level: 'SHOULD', stage: 'A', text: 'Three.', scope: 'public' },
    { id: 'BB-01', level: 'MUST', stage: 'B', text: 'Four.', scope: 'later', note: 'not yet' },
  ]
  const evaluated = (...files: Record<string, string>[]) =>
    evaluate(
      rows,
      files.map((tests) => parseReport(vitestJson({ '/repo/a.test.ts': tests })) ?? expect.unreachable()),
    )
  const proven = (evaluation: ReturnType<typeof evaluate>): string[] =>
    evaluation.rows.filter(isProven).map(({ requirement }) => requirement.id)

  test('is fulfilled when every required row has a passing test', () => {
    const evaluation = evaluated({ 'x (AA-01)': 'passed' }, { 'y (AA-02)': 'passed' })
    expect(proven(evaluation)).toEqual(['AA-01', 'AA-02'])
    expect(isFulfilled(evaluation)).toBe(true)
  })

  test('is not fulfilled when a required row has no test', () => {
    const evaluation = evaluated({ 'x (AA-01, AA-03, BB-01)': 'passed' })
    expect(proven(evaluation)).toEqual(['AA-01', 'AA-03', 'BB-01'])
    expect(isFulfilled(evaluation)).toBe(false)
  })

  test.each(['skipped', 'pending', 'todo'])('does not count a test that is %s', (status) => {
    const evaluation = evaluated({ 'x (AA-01)': 'passed', 'y (AA-02)': status })
    expect(proven(evaluation)).toEqual(['AA-01'])
    expect(isFulfilled(evaluation)).toBe(false)
  })

  test.each(['AA-02', 'AA-03', 'BB-01'])(
    'is not fulfilled when a test of %s fails in one of the runs',
    (id) => {
      const evaluation = evaluated({ [`x (AA-01, AA-02, ${id})`]: 'passed' }, { [`x (${id})`]: 'failed' })
      expect(proven(evaluation)).not.toContain(id)
      expect(isFulfilled(evaluation)).toBe(false)
    },
  )

  test.each(['CC-01', 'AA-01…AA-02'])('is not fulfilled when a title names %s', (reference) => {
    const evaluation = evaluated({ 'x (AA-01, AA-02)': 'passed', [`y (${reference})`]: 'passed' })
    expect([...evaluation.unreadable.keys()]).toEqual([reference])
    expect(isFulfilled(evaluation)).toBe(false)
  })

  test('is not fulfilled when a file could not be run', () => {
    const evaluation = evaluated({ 'x (AA-01, AA-02)': 'passed' })
    const broken = { file: '/repo/b.test.ts', message: 'Cannot find module' }
    expect(isFulfilled({ ...evaluation, brokenFiles: [broken] })).toBe(false)
  })
})

/** A report as Vitest writes it, from statuses by full name by file. */
function vitestJson(files: Record<string, Record<string, string>>) {
  return {
    startTime: 1_700_000_000_000,
    success: true,
    testResults: Object.entries(files).map(([name, tests]) => ({
      name,
      status: Object.values(tests).includes('failed') ? 'failed' : 'passed',
      message: '',
      assertionResults: Object.entries(tests).map(([fullName, status]) => ({
        fullName,
        title: fullName.trim(),
        status,
      })),
    })),
  }
}
