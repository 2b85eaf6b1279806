// Makes sure there are engines to test in, and names them.
//   node test/engines/install.ts          one is enough
//   node test/engines/install.ts all      all that are asked for
//   node test/engines/install.ts --list   installs nothing, prints their names only
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { askedEngines, type EngineName, findEngine, findEngines } from './find.ts'

const packages: Record<EngineName, string[]> = {
  chromium: ['chromium'],
  firefox: ['firefox-esr'],
  webkit: ['webkit2gtk-driver', 'xvfb'],
}

const mode = process.argv[2]

if (mode === '--list') {
  for (const engine of findEngines()) console.log(engine.name)
} else {
  install(mode === 'all' ? askedEngines : findEngines().length > 0 ? [] : ['chromium'])
  for (const name of askedEngines) {
    const engine = findEngine(name)
    console.log(
      `${name}: ${engine ? `${engine.executable} (${engine.source})` : 'not on this machine, left out'}`,
    )
  }
}

function install(wanted: readonly EngineName[]): void {
  const absent = (): EngineName[] => wanted.filter((name) => findEngine(name) === undefined)
  const packagesOf = (names: EngineName[]): string[] => names.flatMap((name) => packages[name])
  if (absent().length > 0 && process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')) {
    const names = packagesOf(absent())
    console.log(`Installing ${names.join(', ')}`)
    // A failure shows as a browser that is still missing.
    aptGet('update')
    aptGet('install', '--yes', '--no-install-recommends', ...names)
  }
  const missing = absent()
  if (missing.length === 0) return
  console.error(
    [
      `Missing to test in: ${missing.join(', ')}. Install with one of`,
      `  npx playwright install --with-deps ${missing.join(' ')}`,
      `  sudo apt-get install ${packagesOf(missing).join(' ')}   (Debian)`,
    ].join('\n'),
  )
  process.exit(1)
}

function aptGet(...args: string[]): void {
  spawnSync('apt-get', ['--quiet=2', ...args], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  })
}
