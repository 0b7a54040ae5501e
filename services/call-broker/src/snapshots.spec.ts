import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { controlWord, DEVICE_CONTROL, makeToken } from '@weir/protocol-topvdn';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Covers } from './covers.js';
import { fileInForm } from './multipart-file.js';
import { Broker, startSurroundings, type Surroundings } from './testing/broker.js';
import { APP } from './testing/device.js';

const JPEG = Buffer.concat([Buffer.from([0xff, 0xd8, 0xff, 0xe0]), Buffer.from('a picture \r\n--not a boundary\r\n')]);
const PNG = Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), Buffer.alloc(100, 7)]);
const MAX_BYTES = 2 * 1024 * 1024;

let around: Surroundings;
let broker: Broker;
let folder: string;
let nextCid = 2_000;

beforeAll(async () => {
  around = await startSurroundings();
  broker = await Broker.start(around.env);
  await broker.service.apps.create(APP);
  folder = await mkdtemp(path.join(tmpdir(), 'weir-snapshots-'));
}, 60_000);

afterAll(async () => {
  await broker.stop();
  await around.stop();
  await rm(folder, { recursive: true });
});

const newCid = () => nextCid++;
const token = (cid: number, control = 0) =>
  makeToken({ cid, control, expireS: Math.floor(Date.now() / 1_000) + 600 }, APP.key);
const form = (content: Buffer, name = 'file', boundary = 'b0') =>
  Buffer.concat([
    Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="${name}"; filename="x.jpg"\r\n`),
    Buffer.from('Content-Type: image/jpeg\r\n\r\n'),
    content,
    Buffer.from(`\r\n--${boundary}--\r\n`),
  ]);
const upload = async (cid: number, body: Buffer, text = token(cid)) => {
  const headers = { 'content-type': 'multipart/form-data; boundary=b0' };
  return (await broker.request('POST', `/v2/devices/${cid}/snapshots?client_token=${text}`, { body, headers })).status;
};
const cover = (cid: number, query = `client_token=${token(cid)}`, headers = {}) =>
  broker.request('GET', `/v2/snapshots/${cid}/cover?${query}`, { headers });

describe('a picture that a device sends', () => {
  it('is its cover, as curl sends it', async () => {
    const cid = newCid();
    expect((await cover(cid)).status).toBe(404);
    const file = path.join(folder, 'cover.jpg');
    await writeFile(file, JPEG);
    const { stdout } = await promisify(execFile)('curl', [
      ...['-sS', '-X', 'POST', '-H', 'Cache-Control: no-cache'],
      ...['-H', 'Content-Type: multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW'],
      ...['-F', `file=@${file}`, `${broker.url}/v2/devices/${cid}/snapshots?client_token=${token(cid)}`],
    ]);
    expect(JSON.parse(stdout)).toEqual({ request_id: expect.stringMatching(/^[0-9a-f]{32}$/) as string });
    const { status, headers, bytes } = await cover(cid);
    expect([status, headers['content-type'], headers['x-content-type-options']]).toEqual([
      200,
      'image/jpeg',
      'nosniff',
    ]);
    expect(bytes).toEqual(JPEG);
  });

  it('is what its bytes say, whatever the form says', async () => {
    const cid = newCid();
    expect(await upload(cid, form(PNG))).toBe(200);
    expect((await cover(cid)).headers['content-type']).toBe('image/png');
    for (const wrong of ['<svg onload="x"/>', '<html></html>', '', 'GIF8', 'RIFFxxxxWAVE'])
      expect(await upload(newCid(), form(Buffer.from(wrong)))).toBe(400);
  });

  it('comes every five minutes at most, whatever instance and however many at once', async () => {
    const cid = newCid();
    const other = await Broker.start(around.env);
    const at = (instance: Broker) =>
      instance.request('POST', `/v2/devices/${cid}/snapshots?client_token=${token(cid)}`, { body: form(JPEG) });
    const statuses = (await Promise.all([at(broker), at(other), at(broker), at(other)])).map(({ status }) => status);
    expect(statuses.sort()).toEqual([200, 429, 429, 429]);
    await other.stop();
    const { database } = broker.service.apps;
    const uploadedAt = new Date(Date.now() - 5 * 60_000);
    await database.cover.update({ where: { cid: BigInt(cid) }, data: { uploadedAt } });
    expect(await upload(cid, form(PNG))).toBe(200);
  });

  it('has two megabytes at most', async () => {
    const sized = (bytes: number) => Buffer.concat([JPEG, Buffer.alloc(bytes - JPEG.length)]);
    expect(await upload(newCid(), form(sized(MAX_BYTES)))).toBe(200);
    expect(await upload(newCid(), form(sized(MAX_BYTES + 1)))).toBe(413);
    expect(await upload(newCid(), form(sized(MAX_BYTES + 100_000)))).toBe(413);
  });

  it.each([
    ['no form', Buffer.from('{}')],
    ['nothing', Buffer.alloc(0)],
    ['a form without the file', form(JPEG, 'other')],
    ['a form without an end', form(JPEG).subarray(0, -8)],
    ['a form of boundaries alone', Buffer.from('--b0\r\n'.repeat(1_000))],
    ['a form with endless headers', Buffer.from(`--b0\r\n${'x: y\r\n'.repeat(10_000)}`)],
  ])('is refused if the body is %s', async (_what, body) => {
    expect(await upload(newCid(), body)).toBe(400);
  });

  it('needs the device’s own token', async () => {
    const cid = newCid();
    expect(await upload(cid, form(JPEG), token(cid + 1))).toBe(403);
    expect(await upload(cid, form(JPEG), token(cid, controlWord({ watchPrivate: true, snapshot: true })))).toBe(403);
    expect(await upload(cid, form(JPEG), 'nonsense')).toBe(401);
    expect((await broker.request('POST', `/v2/devices/${cid}/snapshots`, { body: form(JPEG) })).status).toBe(401);
    expect(await upload(cid, form(JPEG), token(cid, DEVICE_CONTROL))).toBe(200);
  });
});

describe('a cover', () => {
  it('is shown to those whose token allows it', async () => {
    const cid = newCid();
    await upload(cid, form(JPEG));
    const status = async (query: string, headers = {}) => (await cover(cid, query, headers)).status;
    const mine = { 'x-client-token': token(cid + 1) };
    const watch = controlWord({ watchPrivate: true });
    const snapshot = controlWord({ watchPrivate: true, snapshot: true });
    expect(await status('')).toBe(401);
    expect(await status('client_token=x')).toBe(401);
    expect(await status(`client_token=${token(cid + 1)}`)).toBe(403);
    expect(await status(`client_token=${token(cid, watch)}`)).toBe(403);
    expect(await status(`client_token=${token(cid, snapshot)}`)).toBe(200);
    expect(await status('', { 'x-client-token': token(cid, DEVICE_CONTROL) })).toBe(200);
    expect(await status('', { ...mine, 'x-access-token': token(cid) })).toBe(200);
    expect(await status(`access_token=${token(cid, snapshot)}`, mine)).toBe(200);
    expect(await status(`access_token=${token(cid, watch)}`, mine)).toBe(403);
    expect(await status(`access_token=${token(cid)}`)).toBe(401);
    for (const path of ['x', '-1', '4294967296', '1.5'])
      expect((await broker.request('GET', `/v2/snapshots/${path}/cover?client_token=${token(cid)}`)).status).toBe(400);
  });

  it('is the live picture while there is one, taken once for several viewers, and the last one afterwards', async () => {
    const cid = newCid();
    let live: Buffer | undefined = PNG;
    let taken = 0;
    const covers = new Covers({
      database: broker.service.apps.database,
      livePicture: async () => {
        taken += 1;
        return live && { contentType: 'image/png', image: live };
      },
      metrics: { snapshot: () => undefined },
    });
    const shown = await Promise.all([covers.of(cid), covers.of(cid), covers.of(cid)]);
    for (const one of shown) expect(one).toMatchObject({ contentType: 'image/png' });
    expect(taken).toBe(1);
    const { database } = broker.service.apps;
    const makeOld = () =>
      database.cover.update({ where: { cid: BigInt(cid) }, data: { takenAt: new Date(Date.now() - 60_000) } });
    await makeOld();
    live = Buffer.concat([PNG, PNG]);
    expect(Buffer.from((await covers.of(cid))?.image ?? [])).toEqual(live);
    await makeOld();
    const last = live;
    live = undefined;
    expect(Buffer.from((await covers.of(cid))?.image ?? [])).toEqual(last);
  });
});

it('a file is found among the other parts of a form', () => {
  const other = form(Buffer.from('words'), 'words').subarray(0, -'--\r\n'.length);
  const both = Buffer.concat([other, Buffer.from('\r\n'), form(JPEG).subarray('--b0\r\n'.length)]);
  expect(fileInForm(both)).toEqual(JPEG);
  expect(fileInForm(Buffer.from('--b0\r\nContent-Disposition: form-data; name=file\r\n\r\nx\r\n--b0--'))).toEqual(
    Buffer.from('x'),
  );
  expect(
    fileInForm(Buffer.from('--b0\r\nContent-Disposition: form-data; name="file2"\r\n\r\nx\r\n--b0--')),
  ).toBeUndefined();
});
