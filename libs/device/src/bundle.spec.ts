import { expect, it } from 'vitest';
import { bundleDevice } from '../bundle.mjs';
import * as library from './index.js';

it('a page can load the library as one module that imports nothing', async () => {
  const code = await bundleDevice();
  expect(code).not.toMatch(/\bimport\s*[("'{*]|\bfrom\s*["']|\brequire\s*\(|node:/);
  const module: object = await import(`data:text/javascript,${encodeURIComponent(code)}`);
  expect(Object.keys(module).sort()).toEqual(Object.keys(library).sort());
});
