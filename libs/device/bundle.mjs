// Bundles the library for pages: one ES module, without imports.
// From the command line: node libs/device/bundle.mjs > weir-device.js
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

/** @returns {Promise<string>} the module's text */
export async function bundleDevice() {
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
