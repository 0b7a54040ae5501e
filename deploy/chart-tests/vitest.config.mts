import { mergeConfig } from 'vitest/config';
import { nodeTest } from '../../vitest.shared.mts';

export default mergeConfig(nodeTest(import.meta.dirname, '@weir/chart-tests'), {
  test: { globalSetup: ['src/install-tools.ts'] },
});
