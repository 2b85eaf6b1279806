import { spawnSync } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** An app with nothing installed but this package, out of its tarball, and what that depends on. */
let app: string
let installed: string
let manifest: {
  name: string
  exports: Record<string, string | { types: string; default: string }>
  dependencies: Record<string, string>
}

beforeAll(() => {
  app = mkdtempSync(join(tmpdir(), 'signet-package-'))
  run('npm', ['pack', '--ignore-scripts', '--pack-destination', app], root)
  const [tarball = ''] = readdirSync(app)
  run('tar', ['-xzf', tarball], app)
  manifest = JSON.parse(readFileSync(join(app, 'package/package.json'), 'utf8'))
  const modules = join(app, 'node_modules')
  installed = join(modules, manifest.name)
  mkdirSync(modules)
  renameSync(join(app, 'package'), installed)
  for (const name of Object.keys(manifest.dependencies)) {
    mkdirSync(dirname(join(modules, name)), { recursive: true })
    symlinkSync(join(root, 'node_modules', name), join(modules, name))
  }
})
afterAll(() => rmSync(app, { recursive: true, force: true }))

function run(command: string, args: string[], cwd: string): string {
  const { status, stdout, stderr, signal } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    timeout: 20_000,
  })
  expect({ status, signal, stderr: status === 0 ? '' : stderr }).toEqual({
    status: 0,
    signal: null,
    stderr: '',
  })
  return stdout
}

/** Runs a module in the app and returns what it prints. It must end by itself. */
const runNode = (code: string) => run(process.execPath, ['--input-type=module', '--eval', code], app)

const read = (file: string) => readFileSync(join(installed, file), 'utf8')
const files = () =>
  readdirSync(installed, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name).slice(installed.length + 1))
const scripts = () => files().filter((file) => file.endsWith('.js'))
/** Entries that are modules; the ready-made service worker is a script to be served. */
const entries = () =>
  Object.entries(manifest.exports).flatMap(([path, target]) =>
    typeof target === 'string' ? [] : [{ specifier: join(manifest.name, path), ...target }],
  )

const STATIC_IMPORT = /^(?:import|export)\s(?:[^'"]*\sfrom\s)?["']([^"']+)["']/gm
const importsOf = (code: string) => [...code.matchAll(STATIC_IMPORT)].map(([, specifier = '']) => specifier)

/** What a page has loaded once it has loaded a file: the code, and the packages it imports. */
function load(file: string): { code: string; packages: string[] } {
  const loaded = new Map<string, string>()
  const packages = new Set<string>()
  const visit = (file: string) => {
    if (loaded.has(file)) return
    loaded.set(file, read(file))
    for (const specifier of importsOf(read(file))) {
      if (specifier.startsWith('.')) visit(join(dirname(file), specifier))
      else packages.add(specifier)
    }
  }
  visit(file)
  return { code: [...loaded.values()].join('\n'), packages: [...packages].sort() }
}

test('the tarball holds the build, its documents, and nothing else', () => {
  const others = files().filter((file) => !file.startsWith('dist/'))
  expect(others.sort()).toEqual(['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json'])
  expect(
    files().filter((file) => !/\.(js|d\.ts)(\.map)?$|^[A-Z]+(\.md)?$|^package\.json$/.test(file)),
  ).toEqual([])
})

test('every export leads to files of the tarball', () => {
  expect(Object.keys(manifest.exports)).toEqual([
    '.',
    './service-worker',
    './service-worker/standalone.js',
    './package.json',
  ])
  const targets = Object.values(manifest.exports).flatMap((target) =>
    typeof target === 'string' ? target : Object.values(target),
  )
  expect(files()).toEqual(expect.arrayContaining(targets.map((target) => target.replace('./', ''))))
})

test('every entry is imported in plain Node without a throw, a global or a handle that keeps Node running', () => {
  for (const { specifier } of entries()) {
    const printed = runNode(`
      const before = Object.getOwnPropertyNames(globalThis)
      const entry = await import(${JSON.stringify(specifier)})
      const added = Object.getOwnPropertyNames(globalThis).filter((name) => !before.includes(name))
      console.log(JSON.stringify({ names: Object.keys(entry), added }))`)
    const names =
      specifier === manifest.name ? ['OAuthError', 'createOAuthClient', 'isOAuthError'] : ['guardRefreshes']
    expect(JSON.parse(printed), specifier).toEqual({ names, added: [] })
  }
})

test.each([
  ['a page', ['es2023', 'dom', 'dom.iterable']],
  ['a worker', ['es2023', 'webworker']],
])('the types need no more than %s has', (_where, lib) => {
  const file = join(app, 'types.ts')
  writeFileSync(
    file,
    entries()
      .map(({ specifier }) => `export * from '${specifier}'`)
      .join('\n'),
  )
  const options = [
    '--lib',
    lib.join(),
    '--types',
    '',
    '--module',
    'nodenext',
    '--target',
    'es2023',
    '--noEmit',
    '--strict',
  ]
  run(join(root, 'node_modules/.bin/tsc'), [...options, '--ignoreConfig', file], app)
})

test('a client that was made and initialized on a server does not keep Node running', () => {
  const printed = runNode(`
    import { createOAuthClient } from '${manifest.name}'
    const client = createOAuthClient()
    const { status } = client.getServerSnapshot()
    const session = await client.initialize()
    console.log(JSON.stringify({ status, session: session ?? null, afterwards: client.status, tier: client.storageTier }))`)
  expect(JSON.parse(printed)).toEqual({
    status: 'initializing',
    session: null,
    afterwards: 'signed-out',
    tier: 'memory',
  })
})

test('a bundle needs the packages of the manifest and, of zod, the small half only', () => {
  const packages = new Set(scripts().flatMap((file) => load(file).packages))
  expect([...packages].sort()).toEqual(['idb', 'jose', 'zod/mini'])
  const names = scripts().flatMap((file) => [
    ...read(file).matchAll(/\b(?:from|import|require)\b\s*\(?\s*["'](zod[^"']*)["']/g),
  ])
  expect([...new Set(names.map(([, name]) => name))]).toEqual(['zod/mini'])
})

test('nothing is evaluated from text, and no random number comes from Math (R17, STO-09)', () => {
  for (const file of scripts()) {
    const found = read(file).match(/\bnew Function\b|(?<![.\w])(?:eval|Function)\(|\bMath\.random\b/g)
    expect(found, file).toBe(null)
  }
})

test('no code makes a frame (CB-16)', () => {
  for (const file of scripts()) expect(read(file).match(/createElement|iframe/gi), file).toBe(null)
})

describe('a page that restores a session', () => {
  /** What only a sign-in needs; looked for in the file that is loaded for it, too. */
  const signInOnly = ['alsoKnownAs', 'AtprotoPersonalDataServer', '/.well-known/did.json', 'code_challenge']

  test('loads neither zod nor the code that reads identities', () => {
    const { code, packages } = load('dist/index.js')
    expect(packages).toEqual(['idb', 'jose'])
    expect(signInOnly.filter((text) => code.includes(text))).toEqual([])
  })

  test('loads both with the first sign-in', () => {
    const [, chunk = ''] = /\bimport\(["']\.\/([^"']+)["']\)/.exec(read('dist/index.js')) ?? []
    const { code, packages } = load(join('dist', chunk))
    expect(packages).toContain('zod/mini')
    expect(signInOnly.filter((text) => !code.includes(text))).toEqual([])
  })
})

test('a service worker with the refresh guard needs no page and nothing of a sign-in', () => {
  const { code, packages } = load('dist/service-worker/index.js')
  const needs = (code: string) =>
    code.match(/\b(?:window|document|localStorage)\s*[.?[]|alsoKnownAs|code_challenge/g) ?? []
  expect(needs(code)).toEqual([])
  expect(needs(read('dist/service-worker/standalone.js'))).toEqual([])
  expect(packages).toEqual(['idb', 'jose'])
  expect(read('dist/service-worker/standalone.js')).not.toMatch(/^(?:import|export)\b/m)
})
