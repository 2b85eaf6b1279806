import { defineConfig, type ViteUserConfig } from 'vitest/config'
import { projects } from './test/engines/projects.ts'

/** Modules that do nothing when imported, though their package.json does not say so. */
const inert = /node_modules[\\/](@atproto|iso-datestring-validator|zod)[\\/]/

/** What apps import and bundle. */
const library: ViteUserConfig['build'] = {
  lib: {
    entry: { index: 'src/index.ts', 'service-worker/index': 'src/service-worker/index.ts' },
    formats: ['es'],
  },
  rolldownOptions: {
    external: [/^idb(\/|$)/, /^jose(\/|$)/, /^zod(\/|$)/],
    treeshake: {
      moduleSideEffects: (id, isExternal) => !isExternal && !inert.test(id),
      // The name @atproto/did gives zod 3, which it would bring along for schemas nobody uses.
      manualPureFunctions: ['z'],
    },
    output: { entryFileNames: '[name].js', chunkFileNames: 'chunks/[name].js' },
  },
}

/** A service worker that apps serve as it is, with everything in it. */
const standalone: ViteUserConfig['build'] = {
  emptyOutDir: false,
  minify: true,
  lib: {
    entry: 'src/service-worker/standalone.ts',
    formats: ['iife'],
    name: 'signet',
    fileName: () => 'service-worker/standalone.js',
  },
}

export default defineConfig(({ mode }) => ({
  build: {
    target: 'es2023',
    minify: false,
    sourcemap: true,
    ...(mode === 'standalone' ? standalone : library),
  },
  test: { projects },
}))
