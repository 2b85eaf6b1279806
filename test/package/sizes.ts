/**
 * Measures what an app pays for the built package, bundled with its dependencies, minified and gzipped.
 *
 *     npm run sizes    prints it and writes it into README.md
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build, type Plugin, type Rolldown } from 'vite'

const root = fileURLToPath(new URL('../..', import.meta.url))
const readme = `${root}/README.md`
const MARKED = /(?<=<!-- sizes -->\n)[\s\S]*?(?=<!-- \/sizes -->)/

export interface Sizes {
  /** Bytes of everything, loaded or not. */
  whole: number
  /** Bytes that a page loads which only restores a session. */
  restore: number
}

export function measureSizes(): Promise<Sizes> {
  return measureBundle(
    `import * as signet from ${JSON.stringify(`${root}/dist/index.js`)}\nconsole.log(signet)`,
  )
}

/** Bundles a module, given by its source, as an app is bundled. */
export async function measureBundle(source: string, plugins: Plugin[] = []): Promise<Sizes> {
  const entry = '\0entry'
  const output = (await build({
    configFile: false,
    logLevel: 'silent',
    root,
    plugins: [
      ...plugins,
      {
        name: 'entry',
        resolveId: (id) => (id === 'entry' ? entry : undefined),
        load: (id) => (id === entry ? source : undefined),
      },
    ],
    build: {
      write: false,
      minify: true,
      target: 'es2023',
      modulePreload: false,
      rolldownOptions: { input: 'entry' },
    },
  })) as Rolldown.RolldownOutput
  const chunks = new Map(
    output.output.flatMap((part) => (part.type === 'chunk' ? [[part.fileName, part] as const] : [])),
  )
  const size = (name: string) => gzipSync(chunks.get(name)?.code ?? '', { level: 9 }).length
  const loaded = new Set<string>()
  const load = (name: string) => {
    if (loaded.has(name)) return
    loaded.add(name)
    chunks.get(name)?.imports.forEach(load)
  }
  for (const [name, chunk] of chunks) if (chunk.isEntry) load(name)
  const sum = (names: Iterable<string>) => [...names].reduce((total, name) => total + size(name), 0)
  return { whole: sum(chunks.keys()), restore: sum(loaded) }
}

/** The README's line, which is generated so that it stays true. */
export function describeSizes({ whole, restore }: Sizes): string {
  const kb = (bytes: number) => `${(bytes / 1000).toFixed(1)} kB`
  return `${kb(whole)} in all, of which a page that restores a session loads ${kb(restore)} (minified and gzipped, dependencies included) · MIT · Chromium, Firefox, Safari\n`
}

export function readDescribedSizes(): string | undefined {
  return MARKED.exec(readFileSync(readme, 'utf8'))?.[0]
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const line = describeSizes(await measureSizes())
  writeFileSync(readme, readFileSync(readme, 'utf8').replace(MARKED, line))
  console.log(line)
}
