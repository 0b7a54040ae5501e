import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { OutboundGuard, parseAllowList } from '@weir/outbound';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { answer, crcOf, PutReceiver, type Fault } from './testing/put-receiver.js';
import type { UploadFile } from './upload-file.js';
import { putFile, type PutOptions } from './upload-put.js';

const guard = new OutboundGuard({ allow: parseAllowList('127.0.0.1') });
const body = randomBytes(3_000_000);
let folder: string;
let file: UploadFile;
let receiver: PutReceiver;
let progress: number[];
let abort: AbortController;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'weir-put-'));
  file = { path: path.join(folder, 'f.webm'), sizeBytes: body.length, contentType: 'video/webm' };
  await writeFile(file.path, body);
  receiver = await PutReceiver.open();
  progress = [];
  abort = new AbortController();
});
afterEach(async () => {
  await receiver.close();
  await rm(folder, { recursive: true });
});

const put = (url = receiver.url('/f.webm?sig=hidden'), options: Partial<PutOptions> = {}) =>
  putFile(
    url,
    file,
    { signal: abort.signal, progress: (bytes) => progress.push(bytes) },
    {
      ...{ guard, requireHttps: false },
      ...options,
    },
  );

const failing = (fault: Fault) => {
  receiver.faults.push(fault);
  return put();
};

describe('an upload by PUT', () => {
  it('sends the file with its length and type and without anything else that could be signed', async () => {
    expect(await put()).toEqual({ tag: 'uploaded', status: 200, confirmation: { by: 'checksum' } });
    expect(receiver.stored.get('/f.webm')?.body.equals(body)).toBe(true);
    const [{ headers, url } = expect.unreachable()] = receiver.seen;
    expect(headers).toEqual({
      ...{ host: `127.0.0.1:${receiver.port}`, connection: 'keep-alive', expect: '100-continue' },
      ...{ 'content-type': 'video/webm', 'content-length': String(body.length) },
    });
    expect(url).toBe('/f.webm?sig=hidden');
    expect(progress.at(-1)).toBe(body.length);
    expect(progress.length).toBeGreaterThan(1);
  });

  it('sends the length of an empty file too', async () => {
    await writeFile(file.path, '');
    file = { ...file, sizeBytes: 0 };
    expect(await put()).toMatchObject({ tag: 'uploaded' });
    expect(receiver.seen[0]?.headers['content-length']).toBe('0');
  });

  it('tells Azure what kind of blob it is', async () => {
    await put(receiver.url('/f.webm?sv=1&se=2999-01-01&sp=cw&sig=s'));
    expect(receiver.seen[0]?.headers['x-ms-blob-type']).toBe('BlockBlob');
  });

  it.each([
    ['the CRC32', (bytes: Buffer) => ({ 'x-amz-checksum-crc32': crcOf(bytes) }), 'checksum'],
    ['an ETag that is no MD5', () => ({ etag: '"abc"' }), 'status'],
    ['nothing', () => ({}), 'status'],
  ])('is confirmed when the destination returns %s', async (_what, told, by) => {
    receiver.told = told as typeof receiver.told;
    expect(await put()).toMatchObject({ tag: 'uploaded', confirmation: { by } });
  });

  it.each([
    ['x-amz-checksum-crc32', 'AAAAAA=='],
    ['content-md5', '1B2M2Y8AsgTpgAmY7PhCfg=='],
    ['x-goog-hash', 'crc32c=AAAAAA==,md5=1B2M2Y8AsgTpgAmY7PhCfg=='],
  ])('is tried again when the destination has another %s', async (name, value) => {
    receiver.told = () => ({ [name]: value });
    expect(await put()).toMatchObject({ tag: 'retry', words: 'the destination has another checksum than the file' });
  });

  it('is refused by a store that wants the checksum of an empty body, and the error says so', async () => {
    const outcome = await put(receiver.url('/f.webm?x-amz-checksum-crc32=AAAAAA%3D%3D'));
    expect(outcome).toMatchObject({ tag: 'refused', status: 400, words: 'the destination says 400 (BadDigest)' });
  });

  it.each([
    [400, 'BadDigest'],
    [403, 'SignatureDoesNotMatch'],
    [404, 'NoSuchBucket'],
    [409, 'OperationAborted'],
    [411, 'MissingContentLength'],
    [412, 'PreconditionFailed'],
    [413, 'EntityTooLarge'],
  ])('isn’t tried again after %i, and the log names the store’s reason: %s', async (status, code) => {
    const outcome = await failing((_request, response) => answer(response, status, code));
    expect(outcome).toMatchObject({ tag: 'refused', status, words: expect.stringContaining(code) as string });
  });

  it.each([408, 429, 500, 501, 502, 503, 504])(
    'is tried again after %i, when the destination wants it',
    async (status) => {
      const outcome = await failing((_request, response) =>
        answer(response, status, 'SlowDown', { 'retry-after': '60' }),
      );
      expect(outcome).toEqual({
        tag: 'retry',
        status,
        words: `the destination says ${status} (SlowDown)`,
        afterMs: 60_000,
      });
    },
  );

  it.each([301, 302, 307, 308])('follows no redirect (%i)', async (status) => {
    const location = receiver.url('/elsewhere');
    const outcome = await failing((_request, response) => answer(response, status, '', { location }));
    expect(outcome).toMatchObject({ tag: 'refused', status });
    expect(receiver.seen).toHaveLength(1);
  });

  it('learns of a refusal even if the destination never asks for the body', async () => {
    const outcome = await failing((request, response) => {
      answer(response, 403, 'AccessDenied', { connection: 'close' });
      request.socket.destroySoon();
    });
    expect(outcome).toMatchObject({ tag: 'refused', status: 403 });
    expect(progress).toEqual([]);
  });

  it('learns of a refusal in the middle of the body', async () => {
    const outcome = await failing((request, response) => {
      response.writeContinue();
      request.once('data', () => answer(response, 403, 'RequestTimeTooSkewed'));
    });
    expect(outcome).toMatchObject({ tag: 'refused', status: 403 });
  });

  it('doesn’t believe a success that comes before the whole file was sent', async () => {
    const outcome = await failing((_request, response) => answer(response, 200));
    expect(outcome).toMatchObject({ tag: 'retry', words: 'the destination answered before it had the whole file' });
  });

  it('goes on when the destination doesn’t know Expect', async () => {
    const outcome = await failing((_request, response) => answer(response, 417));
    expect(outcome).toMatchObject({ tag: 'uploaded' });
    expect(receiver.seen.map(({ headers }) => headers.expect)).toEqual(['100-continue', undefined]);
  });

  it.each<[string, Fault]>([
    ['closes its half', (request) => void request.socket.end()],
    ['resets', (request) => void request.socket.resetAndDestroy()],
    ['breaks off in its head', (request) => void request.socket.end('HTTP/1.1 200 O')],
    ['sends no HTTP', (request) => void request.socket.end('220 ready\r\n')],
    [
      'resets in the middle of the body',
      (request, response) => {
        response.writeContinue();
        request.once('data', () => request.socket.resetAndDestroy());
      },
    ],
  ])('is tried again when the destination %s', async (_what, fault) => {
    expect(await failing(fault)).toMatchObject({
      tag: 'retry',
      words: expect.stringContaining('connection failed') as string,
    });
  });

  it('is complete when the destination has said so, even if the rest of the answer breaks off', async () => {
    const outcome = await failing((request, response) => {
      response.writeContinue();
      request.resume().on('end', () => {
        response.writeHead(200, { 'content-length': '100' }).write('some');
        setImmediate(() => response.destroy());
      });
    });
    expect(outcome).toMatchObject({ tag: 'uploaded', status: 200 });
  });

  it('is tried again when the destination takes nothing, or never answers', async () => {
    const stalled = { tag: 'retry', words: 'the destination took nothing for too long' };
    receiver.faults.push((_request, response) => response.writeContinue());
    expect(await put(undefined, { stallMs: 300 })).toMatchObject(stalled);
    receiver.faults.push((request, response) => {
      response.writeContinue();
      request.resume();
    });
    expect(await put(undefined, { stallMs: 300 })).toMatchObject(stalled);
  });

  it('is tried again when nobody listens', async () => {
    const url = receiver.url('/f.webm');
    await receiver.close();
    expect(await put(url)).toMatchObject({ tag: 'retry', words: 'the connection failed (ECONNREFUSED)' });
  });

  it('isn’t begun with a URL that has expired', async () => {
    const outcome = await put(receiver.url('/f?X-Amz-Date=20260101T000000Z&X-Amz-Expires=60'));
    expect(outcome).toMatchObject({ tag: 'refused', words: expect.stringContaining('expired') as string });
    expect(receiver.seen).toEqual([]);
  });

  it('goes nowhere but to the public internet and to what the operator allows', async () => {
    expect(await put(undefined, { guard: new OutboundGuard() })).toMatchObject({ tag: 'retry' });
    expect(await put(undefined, { requireHttps: true })).toMatchObject({ tag: 'refused' });
    expect(receiver.seen).toEqual([]);
  });

  it('leaves no word of its URL in the log', async () => {
    const outcomes = [
      await failing((request) => void request.socket.end()),
      await put(undefined, { guard: new OutboundGuard() }),
      await put(undefined, { requireHttps: true }),
      await failing((_request, response) => answer(response, 403, 'AccessDenied')),
    ];
    for (const outcome of outcomes) expect(JSON.stringify(outcome)).not.toContain('hidden');
  });
});
