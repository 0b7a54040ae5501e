import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { UploadFile } from './upload-file.js';
import { copyToFolder } from './upload-folder.js';

let root: string;
let folder: string;
let file: UploadFile;

beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'weir-folder-'));
  folder = path.join(root, 'delivered');
  file = { path: path.join(root, 'f.webm'), sizeBytes: 4, contentType: 'video/webm' };
  await writeFile(file.path, 'film');
});
afterEach(() => rm(root, { recursive: true }));

const copy = (to = folder) =>
  copyToFolder(to, 'f.webm', file, { signal: new AbortController().signal, progress: () => undefined });

describe('a folder as destination', () => {
  it('has the file under its name, and nothing else', async () => {
    expect(await copy()).toEqual({ tag: 'uploaded', confirmation: { by: 'size' } });
    expect(await readdir(folder)).toEqual(['f.webm']);
    expect(await readFile(path.join(folder, 'f.webm'), 'utf8')).toBe('film');
  });

  it('gets rid of what a killed attempt left behind, and has the file once', async () => {
    await mkdir(folder);
    await writeFile(path.join(folder, '.f.webm.part'), 'fi');
    expect(await copy()).toMatchObject({ tag: 'uploaded' });
    expect(await copy()).toMatchObject({ tag: 'uploaded' });
    expect(await readdir(folder)).toEqual(['f.webm']);
  });

  it('keeps another file of the same name', async () => {
    await mkdir(folder);
    await writeFile(path.join(folder, 'f.webm'), 'another film');
    expect(await copy()).toMatchObject({ tag: 'refused' });
    expect(await readFile(path.join(folder, 'f.webm'), 'utf8')).toBe('another film');
  });

  it('that can’t be written is tried again', async () => {
    expect(await copy(path.join(file.path, 'no-folder'))).toEqual({
      tag: 'retry',
      words: 'the folder can’t be written (ENOTDIR)',
    });
  });
});
