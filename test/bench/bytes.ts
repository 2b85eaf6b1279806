import { readFileSync } from 'node:fs'
import type { Plugin } from 'vite'
import { measureBundle, type Sizes } from '../package/sizes.ts'
import type { Contender } from './contenders.ts'

/** Minified and gzipped, dependencies included; a chunk that is loaded on demand counts in `whole` only. */
export async function measureBytes({ entries }: Contender): Promise<Sizes> {
  const { whole } = await measureBundle(entries.whole, [oneCopyOfEach()])
  const { restore } = await measureBundle(entries.restore, [oneCopyOfEach()])
  return { whole, restore }
}

/**
 * Takes a package that is installed in several places with the same version from one of them. This repository's own
 * dependencies keep npm from hoisting some of the other clients'; in an app there would be one copy.
 */
function oneCopyOfEach(): Plugin {
  const first = new Map<string, string>()
  return {
    name: 'one-copy-of-each',
    enforce: 'pre',
    async resolveId(source, importer, options) {
      const resolved = await this.resolve(source, importer, { ...options, skipSelf: true })
      const [, folder, path] = /^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\/(.*)$/.exec(resolved?.id ?? '') ?? []
      if (!resolved || folder === undefined) return resolved
      const { name, version } = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8'))
      const key = `${name}@${version}/${path}`
      const id = first.get(key) ?? resolved.id
      first.set(key, id)
      return { ...resolved, id }
    },
  }
}
