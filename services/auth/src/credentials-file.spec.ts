import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { readCredentials, writeCredentials } from './credentials-file.js';

const credentials = {
  user: { username: 'demo', password: 'secret' },
  operator: { key: `weir_abcdefghijkl_${'x'.repeat(43)}` },
};

let folder: string;
let file: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'weir-credentials-'));
  file = path.join(folder, 'credentials.json');
  return () => rm(folder, { recursive: true });
});

test('a written file is read back, is its owner’s alone and leaves no draft', async () => {
  await writeCredentials(file, { ...credentials, robots: [{ id: 'r1' }] });
  expect(await readCredentials(file)).toEqual({ ...credentials, robots: [{ id: 'r1' }] });
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect(await readdir(folder)).toEqual(['credentials.json']);
});

test('a file that is not there is empty', async () => {
  expect(await readCredentials(file)).toEqual({});
});

test('parts that can not be used are as good as missing; the others stay', async () => {
  await writeFile(file, JSON.stringify({ user: { username: 7 }, operator: { key: 'short' }, robots: [] }));
  expect(await readCredentials(file)).toEqual({ robots: [] });
});

test.each(['', '{', '[]', 'null', '"text"'])('a file that holds %j is left alone and named', async (text) => {
  await writeFile(file, text);
  await expect(readCredentials(file)).rejects.toThrow(file);
  expect(await readFile(file, 'utf8')).toBe(text);
});

test('a folder that can not be written to is an error and stays clean', async () => {
  await expect(writeCredentials(path.join(folder, 'missing', 'credentials.json'), credentials)).rejects.toThrow(
    'ENOENT',
  );
  expect(await readdir(folder)).toEqual([]);
});
