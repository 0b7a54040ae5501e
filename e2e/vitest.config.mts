import { mergeConfig } from 'vitest/config';
import { nodeTest } from '../vitest.shared.mts';

/** One platform serves all files, one file after the other; what kills processes comes last. */
export default mergeConfig(nodeTest(import.meta.dirname, '@weir/e2e'), {
  test: {
    globalSetup: ['./src/global-setup.ts'],
    fileParallelism: false,
    sequence: { sequencer: (await import('./src/file-order.js')).FileOrder },
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
