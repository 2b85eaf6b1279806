// What the npm scripts start with: `node test/run.mjs <task> [arguments]`.
// Runs on any Node from 20 on and before anything is installed: it installs the packages when they are missing or
// do not fit the lock file, then runs the task on the Node that is one of those packages.
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { delimiter, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const modules = join(root, 'node_modules')
const binaries = join(modules, '.bin')
const results = join(root, 'test/.results')
// Browsers leave profiles behind when a run is interrupted.
const temporary = mkdtempSync(join(tmpdir(), 'signet-'))
process.on('exit', () => rmSync(temporary, { recursive: true, force: true, maxRetries: 5 }))
const ci = !['', '0', 'false'].includes(process.env.CI ?? '')

const build = [
  ['vite', 'build', '--logLevel', 'warn'],
  ['vite', 'build', '--mode', 'standalone', '--logLevel', 'warn'],
  ['tsc', '-p', 'src'],
]
const checks = [
  ['tsc', '--noEmit', '-p', '.'],
  ['biome', 'check', '.'],
  ['knip'],
  ['publint', '--strict'],
  ['attw', '--pack', '.', '--profile', 'esm-only'],
  ['size-limit'],
]

/** Each task takes the arguments after its name and resolves to whether all went well. */
const tasks = {
  /** Everything. With arguments, only the tests that Vitest finds by them, and no static checks. */
  async test(args) {
    if (args.length === 0) rmSync(results, { recursive: true, force: true })
    const engines = await installEngines()
    await steps(build)
    if (args.length === 0) await steps(checks)
    for (const project of ['unit', 'types', 'dist', ...engines, 'e2e']) await vitest(project, args)
    return report({ tests: true })
  },
  async unit(args) {
    await vitest('unit', args)
    return report({ tests: true })
  },
  async browser(args) {
    for (const engine of await installEngines()) await vitest(engine, args)
    return report({ tests: true })
  },
  async e2e(args) {
    await installEngines()
    await steps(build)
    await vitest('e2e', args)
    return report({ tests: true })
  },
  /** Random schedules of what may happen to an app: `--count 20`, or `--seed N` to replay one; `--engine NAME`. */
  async chaos(args) {
    await installEngines()
    await steps(build)
    process.env.SIGNET_CHAOS = args.join(' ')
    await vitest('e2e', ['test/e2e/chaos.test.ts'], { limit: undefined })
    return report({ tests: true })
  },
  async check() {
    await steps(build)
    await steps(checks)
    return report({ tests: false })
  },
  async demo(args) {
    await installEngines()
    endsWhenInterrupted = true
    return (await run('node', ['examples/demo.ts', ...args])) === 0
  },
  async bench(args) {
    await installEngines()
    await steps(build)
    if (tally.failed > 0) return report({ tests: false })
    endsWhenInterrupted = true
    return (await run('node', ['test/bench/main.ts', ...args])) === 0
  },
  async setup() {
    await installEngines()
    return true
  },
}

/** What takes longer hangs. */
const stepLimit = 15 * 60_000

const tally = { passed: 0, failed: 0, skipped: 0 }
const summary = []
/** What failed, and where. */
const failures = []

async function steps(commands) {
  for (const [command, ...args] of commands) {
    const title = [command, ...args].join(' ')
    const started = heading(title)
    const code = await run(command, args, { limit: stepLimit })
    if (code !== 0) tally.failed++
    note(title, started, code === 0 ? 'ok' : 'failed')
  }
}

/** Runs one project of vite.config.ts and counts from the report it leaves, which `test/.results` keeps. */
async function vitest(project, args, { limit } = { limit: stepLimit }) {
  const filtered = args.length > 0
  const folder = filtered ? join(results, 'filtered') : results
  const file = join(folder, `${project}.json`)
  mkdirSync(folder, { recursive: true })
  rmSync(file, { force: true })
  const started = heading(`tests: ${project}`)
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`]
  const filter = filtered ? ['--passWithNoTests', ...args] : []
  const code = await run('vitest', ['run', `--project=${project}`, ...reporters, ...filter], { limit })
  const { passed = 0, failed = 0, skipped = 0 } = outcome(project, file, code)
  tally.passed += passed
  tally.failed += failed
  tally.skipped += skipped
  note(project, started, sentence({ passed, failed, skipped }))
}

function outcome(project, file, code) {
  // Without a report Vitest ended before its tests did, or found none.
  if (!existsSync(file)) return code === 0 ? {} : { failed: 1 }
  const report = JSON.parse(readFileSync(file, 'utf8'))
  const passed = report.numPassedTests
  const skipped = report.numPendingTests + report.numTodoTests
  // A file that does not load has no test to fail, and an error outside every test belongs to no file.
  const broken = report.testResults.filter(
    ({ status, assertionResults }) =>
      status === 'failed' && !assertionResults.some((test) => test.status === 'failed'),
  )
  const failed = report.numFailedTests + broken.length
  for (const { name, assertionResults } of report.testResults) {
    for (const { status, fullName, failureMessages } of assertionResults) {
      if (status === 'failed')
        failures.push(
          `${project}: ${relative(root, name)}: ${fullName}\n  ${failureMessages[0]?.split('\n')[0]}`,
        )
    }
  }
  for (const { name, message } of broken) failures.push(`${project}: ${relative(root, name)}: ${message}`)
  return { passed, skipped, failed: failed === 0 && code !== 0 ? 1 : failed }
}

function heading(title) {
  console.log(`\n> ${title}`)
  return Date.now()
}

function note(title, started, result) {
  summary.push(`${title}: ${result} (${((Date.now() - started) / 1000).toFixed(1)} s)`)
}

/** The last line counts tests; a build or check that failed is one failure in it. */
function report({ tests }) {
  console.log(`\n${[...failures, ...summary].join('\n')}\n`)
  if (tests || tally.failed > 0) console.log(sentence(tally))
  return tally.failed === 0 && (tally.passed > 0 || !tests)
}

const sentence = ({ passed, failed, skipped }) =>
  `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`

/** Installs what browsers are missing, names the ones there are, and returns the names of their projects. */
async function installEngines() {
  heading('browsers')
  const everything = ci || process.env.ENGINES !== undefined
  const code = await run('node', ['test/engines/install.ts', ...(everything ? ['all'] : [])])
  if (code !== 0) process.exit(1)
  return (await output('node', ['test/engines/install.ts', '--list'])).split('\n').filter(Boolean)
}

async function installPackages() {
  if (!packagesFit()) {
    console.log('Installing the packages of package-lock.json; this takes a minute or two')
    const started = Date.now()
    const sign = setInterval(() => {
      console.log(`  still installing after ${Math.round((Date.now() - started) / 1000)} s`)
    }, 20_000)
    // Not with the Node inside node_modules, which goes away meanwhile.
    const path = (process.env.PATH ?? '').split(delimiter).filter((folder) => folder !== binaries)
    const code = await run('npm', ['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'], {
      env: { PATH: path.join(delimiter) },
    })
    clearInterval(sign)
    if (code !== 0) fail('npm ci failed')
  }
  if (!existsSync(join(binaries, 'node'))) {
    fail('The package `node` is not complete: npm did not run its install script (is ignore-scripts set?)')
  }
}

/** Whether everything the lock file asks for on this platform is what was installed. */
function packagesFit() {
  const installed = lockedPackages(join(modules, '.package-lock.json'))
  const wanted = lockedPackages(join(root, 'package-lock.json'))
  if (wanted === undefined) fail('There is no package-lock.json')
  if (installed === undefined) return false
  return Object.entries(wanted).every(([path, entry]) => {
    const there = installed[path]
    if (path === '') return true
    if (there === undefined) return entry.optional === true
    return there.version === entry.version && there.integrity === entry.integrity
  })
}

function lockedPackages(file) {
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).packages : undefined
}

let child
let interruption
/** Whether an interruption is the way the child is meant to end, so that its exit code says how it went. */
let endsWhenInterrupted = false

/** Runs a command to its end and resolves to its exit code. */
function run(command, args, { env, limit, onOutput } = {}) {
  return new Promise((resolve) => {
    const path = [binaries, process.env.PATH].join(delimiter)
    child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, PATH: path, TMPDIR: temporary, ...env },
      stdio: ['ignore', onOutput ? 'pipe' : 'inherit', 'inherit'],
    })
    child.stdout?.on('data', onOutput)
    const timer =
      limit &&
      setTimeout(() => {
        console.error(`${command} has not ended after ${limit / 60_000} minutes`)
        child.kill()
      }, limit)
    child.once('error', (error) => {
      clearTimeout(timer)
      console.error(`${command}: ${error.message}`)
      resolve(127)
    })
    child.once('close', (code, signal) => {
      clearTimeout(timer)
      if (interruption && !endsWhenInterrupted) process.exit(128 + constants.signals[interruption])
      resolve(code ?? 128 + constants.signals[signal])
    })
  })
}

async function output(command, args) {
  const chunks = []
  const code = await run(command, args, { onOutput: (chunk) => chunks.push(chunk) })
  if (code !== 0) fail(`${command} ${args.join(' ')} failed`)
  return Buffer.concat(chunks).toString()
}

// The child cleans up after itself; this process waits for that and runs nothing further.
function interrupt(signal) {
  interruption ??= signal
  child?.kill(signal)
  setTimeout(() => child?.kill('SIGKILL'), 15_000).unref()
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, interrupt)

// Nobody tells a script that its npm was killed.
const parent = process.ppid
if (process.env.npm_lifecycle_event !== undefined) {
  setInterval(() => process.ppid !== parent && !interruption && interrupt('SIGTERM'), 1000).unref()
}

function fail(message) {
  console.error(message)
  process.exit(1)
}

const [name = '', ...args] = process.argv.slice(2)
if (!Object.hasOwn(tasks, name)) fail(`Usage: node test/run.mjs ${Object.keys(tasks).join('|')} [arguments]`)
if (Number.parseInt(process.versions.node, 10) < 20)
  fail(`Node ${process.versions.node} is too old: 20 is the least`)
await installPackages()
process.exitCode = (await tasks[name](args)) ? 0 : 1
