import { randomBytes } from 'node:crypto';
import { open, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { API_KEY_PATTERN } from '@weir/access';
import { z } from 'zod';
import { callsSchema, type CallCredentials } from './demo-calls.js';

/** The credentials that the single-machine mode gives to its user. */
export interface DemoCredentials {
  readonly user: { readonly username: string; readonly password: string };
  readonly operator: { readonly key: string };
  /** Makes the tokens of `/auth_v2`. */
  readonly recording: { readonly apiId: string; readonly masterKey: string };
  /** call-broker makes the app that this names. */
  readonly calls: CallCredentials;
  /** Entries of other robots stay as they are. */
  readonly robots: readonly unknown[];
}

/** A robot and the API key that is bound to it. */
export interface RobotCredentials {
  readonly id: string;
  readonly token: string;
  readonly cameras: readonly string[];
}

const robotSchema = z.looseObject({
  id: z.string().min(1),
  token: z.string().regex(API_KEY_PATTERN),
  cameras: z.array(z.string()),
});

/** The usable entry of this robot; undefined if there is none. */
export const robotIn = (robots: readonly unknown[], id: string): RobotCredentials | undefined =>
  robots.map((entry) => robotSchema.safeParse(entry).data).find((entry) => entry?.id === id);

/** Other parts of the platform keep their own properties beside these. */
const fileSchema = z.looseObject({
  user: z
    .looseObject({ username: z.string().min(1), password: z.string().min(1) })
    .optional()
    .catch(undefined),
  operator: z
    .looseObject({ key: z.string().regex(API_KEY_PATTERN) })
    .optional()
    .catch(undefined),
  recording: z
    .looseObject({ apiId: z.string().min(1), masterKey: z.string().regex(API_KEY_PATTERN) })
    .optional()
    .catch(undefined),
  calls: callsSchema.optional().catch(undefined),
  robots: z.array(z.unknown()).readonly().optional().catch(undefined),
});
export type CredentialsFile = z.infer<typeof fileSchema>;

const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT';

const parse = (file: string, text: string): CredentialsFile => {
  try {
    return fileSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new Error(`${file} isn't a JSON object: repair it, or remove it to get new credentials`, { cause });
  }
};

/** Returns an empty object if there is no file. Throws if the file holds anything but a JSON object. */
export const readCredentials = async (file: string): Promise<CredentialsFile> => {
  try {
    return parse(file, await readFile(file, 'utf8'));
  } catch (error) {
    if (isMissing(error)) return {};
    throw error;
  }
};

/** Readers see either the old file or the new one, never a part; only the owner may read it. */
export const writeCredentials = async (file: string, credentials: CredentialsFile & DemoCredentials): Promise<void> => {
  const draft = path.join(path.dirname(file), `.${path.basename(file)}.${randomBytes(6).toString('hex')}`);
  try {
    const handle = await open(draft, 'wx', 0o600);
    try {
      await handle.writeFile(`${JSON.stringify(credentials, undefined, 2)}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(draft, file);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
};
