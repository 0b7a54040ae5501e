import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { OutboundGuard, parseAllowList } from '@weir/outbound';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { answer, type Fault } from './testing/put-receiver.js';
import { S3Receiver } from './testing/s3-receiver.js';
import type { UploadFile, UploadResult } from './upload-file.js';
import { S3Storage, type MultipartUpload } from './upload-s3.js';

const MIB = 1024 * 1024;
const small = randomBytes(MIB);
const large = randomBytes(11 * MIB);
const guard = new OutboundGuard({ allow: parseAllowList('127.0.0.1,localhost') });

let folder: string;
let receiver: S3Receiver;
let storage: S3Storage;
let begun: MultipartUpload | undefined;

const storageAt = (endpoint: string, by = guard): S3Storage =>
  new S3Storage(
    {
      ...{ endpoint, region: 'eu-central-1', bucket: 'films', prefix: 'recordings/', pathStyle: true },
      credentials: { accessKeyId: 'key', secretAccessKey: 'secret' },
      partBytes: 5 * MIB,
    },
    by,
  );

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'weir-s3-'));
  receiver = await S3Receiver.open();
  storage = storageAt(receiver.endpoint);
  begun = undefined;
});
afterEach(async () => {
  storage.close();
  await receiver.close();
  await rm(folder, { recursive: true });
});

const upload = async (body: Buffer, to = storage): Promise<UploadResult> => {
  const file: UploadFile = { path: path.join(folder, 'f.webm'), sizeBytes: body.length, contentType: 'video/webm' };
  await writeFile(file.path, body);
  return to.upload('r1', 'f.webm', file, {
    signal: AbortSignal.timeout(30_000),
    progress: () => undefined,
    begun,
    begin: async (one) => {
      begun = one;
    },
  });
};

const stored = () => receiver.objects.get('films/recordings/f.webm')?.body;
const UPLOADED = { tag: 'uploaded', confirmation: { by: 'size' } };
const says =
  (status: number, code: string): Fault =>
  (request, response) => {
    request.resume();
    answer(response, status, code);
  };

describe('an upload to S3', () => {
  it('of a small file is one request with a length and a checksum', async () => {
    expect(await upload(small)).toEqual(UPLOADED);
    expect(stored()?.equals(small)).toBe(true);
    expect(receiver.operations).toEqual(['PutObject', 'HeadObject']);
  });

  it('of a large file consists of equal parts, each with its checksum', async () => {
    expect(await upload(large)).toEqual(UPLOADED);
    expect(stored()?.equals(large)).toBe(true);
    expect(receiver.operations.filter((operation) => operation === 'UploadPart')).toHaveLength(3);
    expect(receiver.uploads.size).toBe(0);
  });

  it('goes on after a crash with the parts that are missing', async () => {
    receiver.fail('CompleteMultipartUpload', says(503, 'SlowDown'));
    expect(await upload(large)).toMatchObject({ tag: 'retry', status: 503, words: 'the storage says 503 (SlowDown)' });
    [...receiver.uploads.values()][0]?.parts.delete(2);
    receiver.operations.length = 0;
    expect(await upload(large)).toEqual(UPLOADED);
    expect(stored()?.equals(large)).toBe(true);
    expect(receiver.operations).toEqual(['ListParts', 'UploadPart', 'CompleteMultipartUpload', 'HeadObject']);
  });

  it('sends a part again of which the storage has other bytes', async () => {
    receiver.fail('CompleteMultipartUpload', says(500, 'InternalError'));
    await upload(large);
    [...receiver.uploads.values()][0]?.parts.set(1, { body: Buffer.alloc(5 * MIB), etag: '"old"' });
    expect(await upload(large)).toEqual(UPLOADED);
    expect(stored()?.equals(large)).toBe(true);
  });

  it('is recognised as done if only its answer got lost', async () => {
    await upload(large);
    begun = { uploadId: 'completed', partBytes: 5 * MIB };
    expect(await upload(large)).toEqual(UPLOADED);
    begun = undefined;
    await upload(small);
    receiver.objects.clear();
    expect(await upload(small)).toEqual(UPLOADED);
    expect(await upload(small)).toEqual(UPLOADED);
  });

  it('starts again if the storage has forgotten it', async () => {
    begun = { uploadId: 'unknown', partBytes: 5 * MIB };
    expect(await upload(large)).toMatchObject({ tag: 'retry' });
    expect(begun).toBeUndefined();
    expect(await upload(large)).toEqual(UPLOADED);
  });

  it.each([small, large])('overwrites nothing', async (body) => {
    receiver.objects.set('films/recordings/f.webm', { body: Buffer.from('another film'), metadata: {} });
    const outcome = await upload(body);
    expect(outcome).toEqual({ tag: 'refused', status: 412, words: 'the storage has another object with this key' });
    expect(stored()?.toString()).toBe('another film');
  });

  it('starts again after a conflict (409), without leaving parts behind', async () => {
    receiver.fail('CompleteMultipartUpload', says(409, 'ConditionalRequestConflict'));
    expect(await upload(large)).toMatchObject({ tag: 'retry', status: 409 });
    expect([begun, receiver.uploads.size]).toEqual([undefined, 0]);
    expect(await upload(large)).toEqual(UPLOADED);
  });

  it('removes what was left by an attempt whose id could not be stored, and nothing else', async () => {
    receiver.uploads.set('lost', { key: 'films/recordings/f.webm', metadata: {}, parts: new Map() });
    receiver.uploads.set('other', { key: 'films/recordings/f.webm2', metadata: {}, parts: new Map() });
    await upload(large);
    expect([...receiver.uploads.keys()]).toEqual(['other']);
  });

  it('that was given up leaves no parts', async () => {
    receiver.fail('CompleteMultipartUpload', says(500, 'InternalError'));
    await upload(large);
    expect(receiver.uploads.size).toBe(1);
    await storage.abort('f.webm', AbortSignal.timeout(5_000));
    expect(receiver.uploads.size).toBe(0);
  });

  it.each([
    [400, 'BadDigest', 'retry'],
    [400, 'RequestTimeout', 'retry'],
    [400, 'InvalidRequest', 'refused'],
    [403, 'AccessDenied', 'retry'],
    [404, 'NoSuchBucket', 'retry'],
    [429, 'TooManyRequests', 'retry'],
    [500, 'InternalError', 'retry'],
    [503, 'SlowDown', 'retry'],
  ])('after %i %s ends with: %3$s', async (status, code, tag) => {
    receiver.fail('PutObject', says(status, code));
    expect(await upload(small)).toEqual({ tag, status, words: `the storage says ${status} (${code})` });
  });

  it.each<[string, Fault]>([
    ['closes its half', (request) => void request.socket.end()],
    ['resets', (request) => void request.socket.resetAndDestroy()],
    ['breaks off', (request) => void request.socket.end('HTTP/1.1 200 O')],
  ])('is tried again when the storage %s', async (_what, fault) => {
    receiver.fail('PutObject', fault);
    expect(await upload(small)).toMatchObject({ tag: 'retry', words: expect.stringContaining('connection') as string });
  });

  it('is tried again when the storage has another size', async () => {
    receiver.fail('HeadObject', (_request, response) => void response.writeHead(200, { 'content-length': '7' }).end());
    expect(await upload(small)).toMatchObject({ tag: 'retry', words: expect.stringContaining('7 bytes') as string });
  });

  it('is confirmed by its checksums when the storage lets nobody read', async () => {
    receiver.fail('HeadObject', (_request, response) => answer(response, 403));
    expect(await upload(small)).toEqual({ tag: 'uploaded', confirmation: { by: 'checksum' } });
  });

  it.each(['127.0.0.1', 'localhost'])('passes the outbound guard (%s)', async (host) => {
    const closed = storageAt(receiver.endpoint.replace('127.0.0.1', host), new OutboundGuard());
    expect(await upload(small, closed)).toMatchObject({
      tag: 'retry',
      words: expect.stringContaining('refused') as string,
    });
    closed.close();
    const open = storageAt(receiver.endpoint.replace('127.0.0.1', host));
    expect(await upload(small, open)).toEqual(UPLOADED);
    open.close();
  });
});
