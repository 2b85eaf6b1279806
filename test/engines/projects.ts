import { playwright } from '@vitest/browser-playwright'
import type { TestProjectInlineConfiguration } from 'vitest/config'
import { builtPackage } from './built.ts'
import { type Engine, findEngines } from './find.ts'
import { launchOptions } from './playwright.ts'
import { webkitgtk } from './vitest-webkit.ts'

const inBrowser = (engine: Engine): TestProjectInlineConfiguration => ({
  // Found in the middle of a run, a dependency would reload the page under the tests.
  optimizeDeps: { include: ['@atproto/did', '@atproto/syntax', 'idb', 'jose', 'zod/mini'] },
  test: {
    name: engine.name,
    include: ['test/browser/**/*.test.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    api: { host: '127.0.0.1' },
    browser: {
      enabled: true,
      headless: true,
      screenshotFailures: false,
      provider:
        engine.name === 'webkit' && engine.source === 'system'
          ? webkitgtk(engine.executable)
          : playwright({ launchOptions: launchOptions(engine) }),
      instances: [{ browser: engine.name, name: engine.name }],
    },
  },
})

export const projects: TestProjectInlineConfiguration[] = [
  {
    test: {
      name: 'unit',
      environment: 'node',
      include: ['test/{unit,flow,vectors,network}/**/*.test.ts'],
      testTimeout: 30_000,
      hookTimeout: 60_000,
    },
  },
  {
    test: {
      name: 'types',
      include: [],
      typecheck: {
        enabled: true,
        only: true,
        include: ['test/types/**/*.test-d.ts'],
        tsconfig: 'test/types/tsconfig.json',
      },
    },
  },
  {
    resolve: { alias: [builtPackage] },
    test: {
      name: 'dist',
      environment: 'node',
      include: ['test/{flow,package}/**/*.test.ts'],
      env: { SIGNET_DIST: '1' },
      testTimeout: 30_000,
      hookTimeout: 60_000,
    },
  },
  ...findEngines().map(inBrowser),
  {
    test: {
      name: 'e2e',
      environment: 'node',
      include: ['test/e2e/**/*.test.ts'],
      globalSetup: 'test/engines/fixture.ts',
      maxWorkers: 2,
      testTimeout: 120_000,
      hookTimeout: 120_000,
    },
  },
]
