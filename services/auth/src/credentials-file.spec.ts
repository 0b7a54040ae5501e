import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { readCredentials, robotIn, writeCredentials } from './credentials-file.js';

const credentials = {
  user: { username: 'demo', password: 'secret' },
  operator: { key: `weir_abcdefghijkl_${'x'.repeat(43)}` },
  recording: { apiId: 'demo', masterKey: `weir_abcdefghijkl_${'y'.repeat(43)}` },
  calls: { appId: 'demo', appKey: 'k'.repeat(32), devices: [] },
  robots: [],
};

let folder: string;
let file: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'weir-credentials-'));
  file = path.join(folder, 'credentials.json');
  return () => rm(folder, { recursive: true });
});

test('a written file can be read back, only by its owner, and leaves no draft', async () => {
  await writeCredentials(file, { ...credentials, devices: [{ id: 'd1' }] });
  expect(await readCredentials(file)).toEqual({ ...credentials, devices: [{ id: 'd1' }] });
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect(await readdir(folder)).toEqual(['credentials.json']);
});

test('a missing file reads as empty', async () => {
  expect(await readCredentials(file)).toEqual({});
});

test('unusable parts count as missing; the others stay', async () => {
  await writeFile(
    file,
    JSON.stringify({
      user: { username: 7 },
      operator: { key: 'short' },
      recording: 1,
      calls: { appId: 'x' },
      robots: 2,
      devices: [],
    }),
  );
  expect(await readCredentials(file)).toEqual({ devices: [] });
});

test('a robot is found by its id if its entry is usable', () => {
  const token = credentials.operator.key;
  const robot = { id: 'r1', token, cameras: ['front'], note: 'mine' };
  const robots = [null, 7, { id: 'r1' }, { id: 'r1', token: 'short', cameras: [] }, robot, { ...robot, id: 'r2' }];
  expect(robotIn(robots, 'r1')).toEqual(robot);
  expect(robotIn(robots.slice(0, 4), 'r1')).toBeUndefined();
});

test.each(['', '{', '[]', 'null', '"text"'])('a file that holds %j is named and left alone', async (text) => {
  await writeFile(file, text);
  await expect(readCredentials(file)).rejects.toThrow(file);
  expect(await readFile(file, 'utf8')).toBe(text);
});

test('writing to a missing folder is an error and leaves no file behind', async () => {
  await expect(writeCredentials(path.join(folder, 'missing', 'credentials.json'), credentials)).rejects.toThrow(
    'ENOENT',
  );
  expect(await readdir(folder)).toEqual([]);
});
