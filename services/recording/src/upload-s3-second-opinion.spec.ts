import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import S3rver from '@20minutes/s3rver';
import { OutboundGuard, parseAllowList } from '@weir/outbound';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { S3Storage } from './upload-s3.js';

const MIB = 1024 * 1024;
let folder: string;
let server: S3rver;
let storage: S3Storage;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'weir-s3rver-'));
  server = new S3rver({
    ...{ address: '127.0.0.1', port: 0, silent: true, directory: path.join(folder, 'store') },
    configureBuckets: [{ name: 'films', configs: [] }],
  });
  const { port } = await server.run();
  storage = new S3Storage(
    {
      ...{ endpoint: `http://127.0.0.1:${port}`, region: 'us-east-1', bucket: 'films', prefix: 'a/', pathStyle: true },
      // The server checks the signature with these.
      credentials: { accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER' },
      partBytes: 5 * MIB,
    },
    new OutboundGuard({ allow: parseAllowList('127.0.0.1') }),
  );
});
afterEach(async () => {
  storage.close();
  await server.close();
  await rm(folder, { recursive: true });
});

it.each([1, 11])('a server that somebody else wrote accepts a file of %i MiB, and has it whole', async (mib) => {
  const body = randomBytes(mib * MIB);
  const file = { path: path.join(folder, 'f.webm'), sizeBytes: body.length, contentType: 'video/webm' };
  await writeFile(file.path, body);
  const outcome = await storage.upload('r1', 'f.webm', file, {
    signal: AbortSignal.timeout(30_000),
    progress: () => undefined,
    begun: undefined,
    begin: async () => undefined,
  });
  expect(outcome).toEqual({ tag: 'uploaded', confirmation: { by: 'size' } });
  const stored = await readFile(path.join(folder, 'store/films/a/f.webm._S3rver_object'));
  expect(stored.equals(body)).toBe(true);
});
