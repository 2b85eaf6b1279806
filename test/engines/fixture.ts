// Builds the application of the multi-page tests, once per run and from the built package: what a consumer gets.
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'
import type { TestProject } from 'vitest/node'
import { builtPackage } from './built.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  if (!existsSync(join(root, 'dist/index.js')))
    throw new Error('There is no dist/: run `npm run build` first')
  const folder = await mkdtemp(join(tmpdir(), 'signet-fixture-'))
  await build({
    root: join(root, 'test/e2e/fixture'),
    configFile: false,
    logLevel: 'warn',
    resolve: { alias: [builtPackage] },
    build: { outDir: folder, emptyOutDir: true, minify: false, sourcemap: true, target: 'es2023' },
  })
  project.provide('fixture', folder)
  return () => rm(folder, { recursive: true, force: true })
}
