// Bundles the library for pages: one ES module, without imports.
// From the command line: node libs/device/bundle.mjs > weir-device.js
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

/** @type {Promise<string> | undefined} */
let bundled;

/** Bundles once, however often it is asked. @returns {Promise<string>} the module's text */
export const bundleDevice = () => (bundled ??= bundle());

async function bundle() {
  const result = await build({
    root: fileURLToPath(new URL('.', import.meta.url)),
    configFile: false,
    logLevel: 'error',
    resolve: { conditions: ['@weir/source', 'browser', 'module', 'import', 'default'] },
    build: { write: false, target: 'es2022', lib: { entry: 'src/index.ts', formats: ['es'], fileName: 'weir-device' } },
  });
  const [{ output } = { output: [] }] = Array.isArray(result) ? result : 'output' in result ? [result] : [];
  const [chunk] = output;
  if (output.length !== 1 || chunk?.type !== 'chunk') throw new Error('The bundle is not one module');
  return chunk.code;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.stdout.write(await bundleDevice());
