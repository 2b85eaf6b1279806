import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { describeSizes, measureSizes, readDescribedSizes } from './sizes.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

test('every code block of the README compiles against the built package', () => {
  const folder = `${root}/test/.results/readme`
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const blocks = [...readFileSync(`${root}/README.md`, 'utf8').matchAll(/```ts\n([\s\S]*?)```/g)]
  expect(blocks.length).toBeGreaterThan(5)
  for (const [index, [, code = '']] of blocks.entries())
    writeFileSync(`${folder}/${index}.ts`, `${code}\nexport {}\n`)
  writeFileSync(
    `${folder}/tsconfig.json`,
    JSON.stringify({
      extends: '../../../tsconfig.json',
      compilerOptions: { types: [], paths: { 'atproto-signet': ['../../../dist/index.d.ts'] } },
      include: ['*.ts'],
    }),
  )
  const { status, stdout } = spawnSync(`${root}/node_modules/.bin/tsc`, ['-p', folder], { encoding: 'utf8' })
  expect(stdout).toBe('')
  expect(status).toBe(0)
})

test('the README says what the package weighs', async () => {
  expect(readDescribedSizes()).toBe(describeSizes(await measureSizes()))
})
