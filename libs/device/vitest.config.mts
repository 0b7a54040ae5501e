import { nodeTest } from '../../vitest.shared.mts';

export default nodeTest(import.meta.dirname, '@weir/device');
