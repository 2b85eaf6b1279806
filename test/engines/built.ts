import { fileURLToPath } from 'node:url'

/** Resolves what a test imports from `src/` to the built package instead. */
export const builtPackage = {
  find: /^(?:\.\.\/)+src\/(.+)\.ts$/,
  replacement: fileURLToPath(new URL('../../dist/$1.js', import.meta.url)),
}
