import { defineConfig } from 'vitest/config';

/**
 * Tests run the workspace's TypeScript sources (condition "@weir/source"); Node itself loads packages from
 * node_modules. Vite's own compiler emits the decorator metadata that Nest needs. Vitest passes its conditions on to
 * Node, so "module" is not among them: it leads to builds that only bundlers can read.
 */
export const nodeTest = (root: string, name: string) =>
  defineConfig({
    root,
    cacheDir: `${import.meta.dirname}/node_modules/.vite/${name}`,
    ssr: { resolve: { conditions: ['@weir/source', 'node', 'development|production'] } },
    test: {
      name,
      watch: false,
      environment: 'node',
      include: ['src/**/*.spec.ts'],
      reporters: ['default'],
      // Limits for tests that hang; no test measures time with them.
      testTimeout: 30_000,
      hookTimeout: 60_000,
    },
  });
