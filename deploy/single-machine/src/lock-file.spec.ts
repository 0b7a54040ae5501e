import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, it } from 'vitest';
import { missingOptionalPackages } from './lock-file.js';

const checkout = resolve(import.meta.dirname, '../../..');

it('package-lock.json has an entry for every optional package; otherwise npm ci would fail', () => {
  const lock = JSON.parse(readFileSync(resolve(checkout, 'package-lock.json'), 'utf8')) as Parameters<
    typeof missingOptionalPackages
  >[0];
  expect(missingOptionalPackages(lock)).toEqual([]);
});

it('reports an optional package without an entry, and one whose entry has another version', () => {
  const lock = {
    packages: {
      '': {},
      'node_modules/a': { version: '1.0.0', optionalDependencies: { 'a-linux': '1.0.0', 'a-mac': '1.0.0' } },
      'node_modules/a-linux': { version: '1.0.0' },
      'node_modules/b': { version: '2.0.0', optionalDependencies: { 'a-linux': '2.0.0', 'b-own': '^2.0.0' } },
      'node_modules/b/node_modules/b-own': { version: '2.4.0' },
    },
  };
  expect(missingOptionalPackages(lock)).toEqual([
    'node_modules/a@1.0.0 wants a-mac@1.0.0',
    'node_modules/b@2.0.0 wants a-linux@2.0.0',
  ]);
});
