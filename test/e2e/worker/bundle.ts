import { fileURLToPath } from 'node:url'
import { build, type Rolldown } from 'vite'
import { builtPackage } from '../../engines/built.ts'

/** The script of a worker of this folder, as an app's bundler makes it from the built package. */
export async function bundleWorker(name: string): Promise<string> {
  const made = await build({
    configFile: false,
    logLevel: 'warn',
    resolve: { alias: [builtPackage] },
    build: {
      write: false,
      target: 'es2023',
      minify: false,
      lib: {
        entry: fileURLToPath(new URL(`./${name}.ts`, import.meta.url)),
        formats: ['iife'],
        name: 'worker',
      },
    },
  })
  const [{ output }] = [made].flat() as [Rolldown.RolldownOutput]
  return output[0].code
}
