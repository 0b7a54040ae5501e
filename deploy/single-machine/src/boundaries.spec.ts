import { execFileSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { ESLint } from 'eslint';
import { beforeAll, describe, expect, it } from 'vitest';

const checkout = resolve(import.meta.dirname, '../../..');
const DOORS = '@typescript-eslint/no-restricted-imports';
const BOUNDARIES = '@nx/enforce-module-boundaries';

/** What the lint would report about an existing file if this were its text. */
async function lint(file: string, text: string): Promise<{ rule: string | null; message: string }[]> {
  const eslint = new ESLint({ cwd: checkout });
  const [result] = await eslint.lintText(text, { filePath: join(checkout, file) });
  return (result?.messages ?? []).map(({ ruleId, message }) => ({ rule: ruleId, message }));
}

describe('the lint', () => {
  beforeAll(() => {
    // The rule reads Nx's cached project graph; without one it lets everything pass.
    execFileSync(process.execPath, [join(checkout, 'node_modules/.bin/nx'), 'show', 'projects'], {
      cwd: checkout,
      env: { ...process.env, NX_DAEMON: 'false' },
      stdio: 'ignore',
    });
    process.env['NX_DAEMON'] = 'false';
  }, 60_000);

  it('refuses a library that imports a service', { timeout: 60_000 }, async () => {
    const found = await lint('libs/access/src/index.ts', "export * from '@weir/media/src/core.js';\n");
    // If the service depends on the library, the lint reports the circular dependency first.
    const refusal = expect.stringMatching(/can only depend on libs|Circular dependency/) as string;
    expect(found).toContainEqual({ rule: BOUNDARIES, message: refusal });
  });

  it('refuses an end-to-end test that imports a service', { timeout: 60_000 }, async () => {
    const found = await lint('e2e/src/global-setup.ts', "export * from '@weir/media/src/core.js';\n");
    expect(found).toContainEqual({ rule: BOUNDARIES, message: expect.stringContaining('"type:e2e" can only') });
  });

  it('refuses a library that imports files of a service by their path', { timeout: 60_000 }, async () => {
    const found = await lint('libs/access/src/index.ts', "export * from '../../../services/media/src/core.js';\n");
    expect(found).toContainEqual({ rule: BOUNDARIES, message: expect.stringContaining('relative or absolute path') });
  });

  it('refuses a service that imports another service', { timeout: 60_000 }, async () => {
    const found = await lint('services/wcs-signalling/src/main.ts', "export * from '@weir/media/src/core.js';\n");
    expect(found).toContainEqual({ rule: BOUNDARIES, message: expect.stringContaining('"type:service" can only') });
  });

  it('refuses pure code that imports a socket library', { timeout: 60_000 }, async () => {
    const found = await lint('libs/protocols/wcs/src/index.ts', "export { WebSocket } from 'ws';\n");
    expect(found).toContainEqual({ rule: BOUNDARIES, message: expect.stringContaining('"type:pure" is not allowed') });
  });

  it("refuses a library for users' pages that imports the bus", { timeout: 60_000 }, async () => {
    const found = await lint('libs/device/src/index.ts', "export { Bus } from '@weir/bus';\n");
    expect(found).toContainEqual({ rule: BOUNDARIES, message: expect.stringContaining('"type:client" can only') });
  });

  it('refuses pure code that reads the clock', { timeout: 60_000 }, async () => {
    const found = await lint('libs/sdp/src/index.ts', 'export const startedAtMs = Date.now();\n');
    expect(found).toContainEqual({ rule: 'no-restricted-properties', message: expect.stringContaining('an input') });
  });

  it('refuses a service that asks the media core past its client', { timeout: 60_000 }, async () => {
    const found = await lint('services/robot-channel/src/acts.ts', "export { MediaRtp } from '@weir/contracts';\n");
    expect(found).toEqual([
      { rule: 'no-restricted-imports', message: expect.stringContaining('libs/media-client') as string },
    ]);
  });

  it('refuses a private member that is not written with #', { timeout: 60_000 }, async () => {
    const found = await lint('libs/sdp/src/index.ts', 'export class Door { private open(): void {} }\n');
    expect(found).toContainEqual({ rule: 'no-restricted-syntax', message: expect.stringContaining('#member') });
  });

  it.each([
    ['the NATS client', '@nats-io/transport-node', 'libs/bus/src/connection.ts', 'libs/platform/src/instances.ts'],
    ['mediasoup', 'mediasoup', 'services/media/src/track.ts', 'services/wcs-signalling/src/main.ts'],
    ['ioredis', 'ioredis', 'libs/leases/src/leases.ts', 'services/media/src/registry.ts'],
    ['ioredis', 'ioredis', 'services/auth/src/tokens.ts', 'services/auth/src/main.ts'],
  ])('lets %s be imported only by the code behind its door', { timeout: 60_000 }, async (_what, name, door, other) => {
    const planted = `export * from '${name}';\n`;
    const refusal = { rule: DOORS, message: expect.stringContaining('Only ') as string };
    expect(await lint(other, planted)).toContainEqual(refusal);
    expect(await lint(door, planted)).not.toContainEqual(refusal);
  });

  it('accepts what the layers allow', { timeout: 60_000 }, async () => {
    const found = await lint('services/media/src/main.ts', "export { Bus } from '@weir/bus';\n");
    expect(found).toEqual([]);
  });
});
