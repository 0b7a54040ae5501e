import { stat } from 'node:fs/promises';
import { z } from 'zod';

/** Where a finished file goes. */
export const uploadDestination = z.discriminatedUnion('kind', [
  /** One PUT to a URL that its owner has signed. */
  z.object({ kind: z.literal('put'), url: z.string() }),
  /** The S3-compatible storage of the platform's settings. */
  z.object({ kind: z.literal('s3'), key: z.string().min(1).max(1_024) }),
  /** The folder of the platform's settings. The name was made by the service and contains no slash. */
  z.object({ kind: z.literal('folder'), name: z.string().regex(/^[\w-][\w.-]{0,254}$/) }),
]);
export type UploadDestination = z.output<typeof uploadDestination>;

/** A finished recording's file, which no longer changes. */
export const uploadFile = z.object({
  path: z.string().min(1),
  sizeBytes: z.number().int().nonnegative(),
  contentType: z.string().regex(/^[\w.+-]+\/[\w.+-]+(?:; ?[\w=",.+-]+)*$/),
});
export type UploadFile = z.output<typeof uploadFile>;

/** What shows that the destination has the whole file. */
export type Confirmation =
  /** The destination returned the checksum of what it has. */
  | { readonly by: 'checksum' }
  /** The destination returned how many bytes it has. */
  | { readonly by: 'size' }
  /** The destination accepted the request with its Content-Length and returned nothing more. */
  | { readonly by: 'status' };

/** What became of one attempt to upload. `words` never hold the URL or another secret. */
export type UploadResult =
  | { readonly tag: 'uploaded'; readonly status?: number; readonly confirmation: Confirmation }
  | { readonly tag: 'retry'; readonly words: string; readonly status?: number; readonly afterMs?: number }
  /** Only another destination, or another URL for it, can help. */
  | { readonly tag: 'refused'; readonly words: string; readonly status?: number };

export interface UploadContext {
  readonly signal: AbortSignal;
  /** Called now and then, and with all bytes at the end. */
  progress(sentBytes: number): void;
}

/** @returns why the file can't be uploaded now; undefined if it is there with the right size */
export const fileProblem = async ({ path, sizeBytes }: UploadFile): Promise<UploadResult | undefined> => {
  try {
    const { size } = await stat(path);
    if (size === sizeBytes) return undefined;
    return { tag: 'retry', words: `the file has ${size} bytes instead of ${sizeBytes}` };
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
    return { tag: 'retry', words: 'this instance can’t find the file' };
  }
};
