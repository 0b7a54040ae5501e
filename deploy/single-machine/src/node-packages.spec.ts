import { expect, it } from 'vitest';
import { isInstalled } from '../setup/node-packages.mjs';

const wanted = {
  '': {},
  'libs/bus': { version: '0.1.0' },
  'node_modules/@weir/bus': { link: true, resolved: 'libs/bus' },
  'node_modules/ws': { version: '8.0.0' },
  'node_modules/fsevents': { version: '2.3.0', optional: true },
};
const installed = { 'node_modules/@weir/bus': { link: true }, 'node_modules/ws': { version: '8.0.0' } };

it('an installation that has what the lock file asks for needs no npm ci', () => {
  expect(isInstalled(wanted, installed, () => true)).toBe(true);
});

it('an installation that lacks a folder from npm’s record needs npm ci', () => {
  expect(isInstalled(wanted, installed, (path) => path !== 'node_modules/ws')).toBe(false);
});

it.each([
  ['nothing', undefined],
  ['a missing package', { 'node_modules/@weir/bus': { link: true } }],
  ['another version', { ...installed, 'node_modules/ws': { version: '7.0.0' } }],
  ['another version of an optional package', { ...installed, 'node_modules/fsevents': { version: '2.2.0' } }],
  ['a copy where the workspace should be', { ...installed, 'node_modules/@weir/bus': { version: '0.1.0' } }],
])('an installation with %s needs npm ci', (_case, there) => {
  expect(isInstalled(wanted, there, () => true)).toBe(false);
});
