import { mergeConfig } from 'vitest/config';
import { nodeTest } from '../vitest.shared.mts';

/**
 * One platform serves all files, one after the other, in any order. Files that kill processes wait until the platform
 * is healthy again.
 */
export default mergeConfig(nodeTest(import.meta.dirname, '@weir/e2e'), {
  test: {
    globalSetup: ['./src/global-setup.ts'],
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
