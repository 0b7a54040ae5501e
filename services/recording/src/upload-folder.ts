import { constants } from 'node:fs';
import { copyFile, link, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import type { UploadContext, UploadFile, UploadResult } from './upload-file.js';

const sync = async (name: string): Promise<void> => {
  const handle = await open(name, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
};

const hasCode = (error: unknown, code: string): boolean =>
  error instanceof Error && 'code' in error && error.code === code;

const sizeOf = async (name: string): Promise<number | undefined> => {
  try {
    return (await stat(name)).size;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
};

/** A link fails if the name exists, a rename doesn't; but not every file system has links. */
const nameIt = async (aside: string, target: string): Promise<void> => {
  try {
    await link(aside, target);
  } catch (error) {
    if (!['EPERM', 'ENOTSUP', 'ENOSYS'].some((code) => hasCode(error, code))) throw error;
    await rename(aside, target);
  }
};

/**
 * Copies the file aside, syncs it, and gives it its name when it is complete. A file that already has the name is never
 * overwritten; one of the same size counts as left by an earlier attempt.
 */
export const copyToFolder = async (
  folder: string,
  name: string,
  file: UploadFile,
  context: UploadContext,
): Promise<UploadResult> => {
  const target = path.join(folder, name);
  const aside = path.join(folder, `.${name}.part`);
  try {
    await mkdir(folder, { recursive: true });
    const there = await sizeOf(target);
    if (there !== undefined && there !== file.sizeBytes)
      return { tag: 'refused', words: 'the folder has another file of this name' };
    if (there === undefined) {
      await rm(aside, { force: true });
      await copyFile(file.path, aside, constants.COPYFILE_EXCL);
      context.signal.throwIfAborted();
      await sync(aside);
      if ((await sizeOf(aside)) !== file.sizeBytes) return { tag: 'retry', words: 'the copy is incomplete' };
      await nameIt(aside, target);
    }
    await rm(aside, { force: true });
    await sync(folder);
    context.progress(file.sizeBytes);
    return { tag: 'uploaded', confirmation: { by: 'size' } };
  } catch (error) {
    if (context.signal.aborted) throw error;
    if (hasCode(error, 'ENOSPC')) await rm(aside, { force: true });
    if (!(error instanceof Error) || !('code' in error)) throw error;
    return { tag: 'retry', words: `the folder can’t be written (${String(error.code)})` };
  }
};
