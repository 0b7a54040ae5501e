import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { Agent, request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { Agent as TlsAgent, request as httpsRequest } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { OutboundFailed, OutboundRefused, retryAfterMs, type OutboundGuard, type OutboundTarget } from '@weir/outbound';
import { within } from '@weir/timing';
import type { Confirmation, UploadContext, UploadFile, UploadResult } from './upload-file.js';
import { expiryOf, wantsBlobType } from './upload-url.js';

export interface PutOptions {
  readonly guard: Pick<OutboundGuard, 'check'>;
  readonly requireHttps: boolean;
  /** A destination that takes nothing, or doesn't answer, for this long has failed. Default 120 s. */
  readonly stallMs?: number;
}

const STALL_MS = 120_000;
/** How long to wait for a server that may not know `Expect: 100-continue`. */
const CONTINUE_WAIT_MS = 1_000;
const ANSWER_BODY_MS = 2_000;
const ANSWER_BODY_CHARACTERS = 8 * 1024;
const READ_BYTES = 256 * 1024;
const EXPECTATION_FAILED = 417;
/** The statuses below 500 after which another attempt may succeed. */
const TEMPORARY = new Set([408, 429]);

interface Checksums {
  readonly md5: Buffer;
  readonly crc32: Buffer;
}

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** The error code of S3 and similar stores, for example SignatureDoesNotMatch. */
  readonly code: string | undefined;
  /** The checksums of what was sent; undefined if the destination answered before it had the whole file. */
  readonly checksums: Checksums | undefined;
}

class Stalled extends Error {
  override readonly name = 'Stalled';
}

/**
 * One PUT of the whole file with Content-Length, as presigned URLs need it: nothing is chunked, no redirect is followed,
 * and no header is sent that the signature may not cover. The body follows when the destination has seen the head and
 * hasn't refused it, so that the end of the connection can't swallow a refusal.
 */
export const putFile = async (
  url: string,
  file: UploadFile,
  context: UploadContext,
  options: PutOptions,
): Promise<UploadResult> => {
  const untilMs = expiryOf(url);
  if (untilMs !== undefined && untilMs <= Date.now())
    return { tag: 'refused', words: `the URL expired at ${new Date(untilMs).toISOString()}; a new one is needed` };
  try {
    const target = await options.guard.check(url, {
      schemes: options.requireHttps ? ['https'] : ['https', 'http'],
      signal: context.signal,
    });
    const attempt = (expect: boolean) => put({ url: new URL(url), target, file, context, expect, options });
    const answer = await attempt(true);
    return resultOf(answer.status === EXPECTATION_FAILED ? await attempt(false) : answer);
  } catch (error) {
    return failureOf(error);
  }
};

interface Put {
  readonly url: URL;
  readonly target: OutboundTarget;
  readonly file: UploadFile;
  readonly context: UploadContext;
  /** Whether the destination is asked before the body is sent. */
  readonly expect: boolean;
  readonly options: PutOptions;
}

const put = async ({ url, target, file, context, expect, options }: Put): Promise<Answer> => {
  const stalled = new AbortController();
  const watch = setTimeout(() => stalled.abort(new Stalled()), options.stallMs ?? STALL_MS);
  const tls = url.protocol === 'https:';
  // If a server refused in the middle of the body and then closed, its answer would be lost; so it is asked to stay.
  const agent = tls ? new TlsAgent({ keepAlive: true }) : new Agent({ keepAlive: true });
  const request = (tls ? httpsRequest : httpRequest)(url, {
    method: 'PUT',
    agent,
    lookup: target.lookup,
    signal: AbortSignal.any([context.signal, stalled.signal]),
    headers: {
      'content-type': file.contentType,
      'content-length': String(file.sizeBytes),
      ...(expect && { expect: '100-continue' }),
      ...(wantsBlobType(url) && { 'x-ms-blob-type': 'BlockBlob' }),
    },
  });
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    request.on('response', resolve).on('error', reject);
  });
  try {
    const sent = send(request, file, expect, (sentBytes) => {
      watch.refresh();
      context.progress(sentBytes);
    });
    const response = await Promise.race([answered, sent.then(() => answered)]);
    watch.refresh();
    const headers = new Headers(
      Object.entries(response.headers).flatMap(([name, value]) => (typeof value === 'string' ? [[name, value]] : [])),
    );
    return { status: response.statusCode ?? 0, headers, code: await codeOf(response), checksums: await sent };
  } catch (error) {
    throw stalled.signal.aborted ? new Stalled() : error;
  } finally {
    clearTimeout(watch);
    request.destroy();
    agent.destroy();
  }
};

/** @returns undefined if the destination answers before it has the whole file */
const send = async (
  request: ClientRequest,
  file: UploadFile,
  expect: boolean,
  progress: (sentBytes: number) => void,
): Promise<Checksums | undefined> => {
  const early = new AbortController();
  request.once('response', () => early.abort());
  const md5 = createHash('md5');
  let crc = 0;
  let sentBytes = 0;
  try {
    request.flushHeaders();
    if (expect) await Promise.race([once(request, 'continue', early), sleep(CONTINUE_WAIT_MS, undefined, early)]);
    // Exactly the stated length of the file is sent, even if it has grown.
    const end = Math.max(0, file.sizeBytes - 1);
    const body = file.sizeBytes === 0 ? [] : createReadStream(file.path, { highWaterMark: READ_BYTES, end });
    for await (const chunk of body) {
      if (!Buffer.isBuffer(chunk)) throw new TypeError('A file consists of bytes');
      early.signal.throwIfAborted();
      md5.update(chunk);
      crc = crc32(chunk, crc);
      if (!request.write(chunk)) await once(request, 'drain', early);
      sentBytes += chunk.length;
      progress(sentBytes);
    }
    request.end();
  } catch (error) {
    if (early.signal.aborted) return undefined;
    throw error;
  }
  const crcBytes = Buffer.alloc(4);
  crcBytes.writeUInt32BE(crc);
  return { md5: md5.digest(), crc32: crcBytes };
};

/** Reads what arrives of the answer's body; an error there doesn't matter. */
const codeOf = async (response: IncomingMessage): Promise<string | undefined> => {
  let text = '';
  const reading = async (): Promise<void> => {
    for await (const chunk of response.setEncoding('utf8')) {
      text += String(chunk);
      if (text.length > ANSWER_BODY_CHARACTERS) return;
    }
  };
  await within(
    ANSWER_BODY_MS,
    reading().catch(() => undefined),
    () => undefined,
  );
  return /<Code>([A-Za-z0-9]{1,64})<\/Code>/.exec(text)?.[1];
};

const resultOf = (answer: Answer): UploadResult => {
  const { status, headers, code, checksums } = answer;
  const says = `the destination says ${status}${code === undefined ? '' : ` (${code})`}`;
  if (status >= 200 && status < 300) {
    if (checksums === undefined)
      return { tag: 'retry', status, words: 'the destination answered before it had the whole file' };
    const confirmation = confirmationOf(headers, checksums);
    if (confirmation === undefined)
      return { tag: 'retry', status, words: 'the destination has another checksum than the file' };
    return { tag: 'uploaded', status, confirmation };
  }
  if (status >= 500 || TEMPORARY.has(status)) {
    const afterMs = retryAfterMs(headers, Date.now());
    return { tag: 'retry', status, words: says, ...(afterMs !== undefined && { afterMs }) };
  }
  if (status >= 300 && status < 400)
    return { tag: 'refused', status, words: `the destination redirects (${status}), which isn’t followed` };
  return { tag: 'refused', status, words: status === 403 ? `${says}; a new URL is needed` : says };
};

/**
 * @returns undefined if the destination has other bytes. An ETag that isn't the MD5 says nothing: with some encryptions
 *   it is something else.
 */
const confirmationOf = (headers: Headers, { md5, crc32: crc }: Checksums): Confirmation | undefined => {
  const told = [
    [headers.get('x-amz-checksum-crc32'), crc],
    [headers.get('content-md5'), md5],
    [/(?:^|[, ])md5=([A-Za-z0-9+/=]+)/.exec(headers.get('x-goog-hash') ?? '')?.[1], md5],
  ] as const;
  const known = told.filter(([value]) => typeof value === 'string');
  if (known.some(([value, own]) => value !== own.toString('base64'))) return undefined;
  const isMd5 = headers.get('etag')?.replaceAll('"', '').toLowerCase() === md5.toString('hex');
  return { by: known.length > 0 || isMd5 ? 'checksum' : 'status' };
};

/** Errors of the outbound guard reveal no more than the host. */
const failureOf = (error: unknown): UploadResult => {
  if (error instanceof Stalled) return { tag: 'retry', words: 'the destination took nothing for too long' };
  if (error instanceof OutboundFailed) return { tag: 'retry', words: error.message };
  if (error instanceof OutboundRefused)
    // A name may have another address later; everything else stays as it is.
    return { tag: error.reason === 'address' ? 'retry' : 'refused', words: error.message };
  if (!(error instanceof Error) || !('code' in error)) throw error;
  return { tag: 'retry', words: `the connection failed (${String(error.code)})` };
};
