import { nodeTest } from '../../vitest.shared.mts';

const config = nodeTest(import.meta.dirname, '@weir/gateway');

/**
 * Vitest passes its conditions on to Node, and the condition "module" leads to a build of @opentelemetry/api that only
 * bundlers can read.
 */
export default { ...config, ssr: { resolve: { conditions: ['@weir/source', 'node', 'development|production'] } } };
