import { open, type FileHandle } from 'node:fs/promises';
import { Agent } from 'node:http';
import { Agent as TlsAgent } from 'node:https';
import type { LookupFunction } from 'node:net';
import { crc32 } from 'node:zlib';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  PutObjectCommand,
  S3Client,
  S3ServiceException,
  UploadPartCommand,
  type CompletedPart,
  type Part,
} from '@aws-sdk/client-s3';
import { OutboundFailed, OutboundRefused, type OutboundGuard } from '@weir/outbound';
import type { UploadContext, UploadFile, UploadResult } from './upload-file.js';

export interface S3Settings {
  /** If not set, Amazon's own endpoint of the region. */
  readonly endpoint: string | undefined;
  readonly region: string;
  readonly bucket: string;
  /** Stands before every key, for example `recordings/`. */
  readonly prefix: string;
  /** `https://endpoint/bucket/key` instead of `https://bucket.endpoint/key`. */
  readonly pathStyle: boolean;
  /** If not set, the AWS SDK finds them: in the environment, by the pod's identity or by the machine's role. */
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string } | undefined;
  /** At least 5 MiB. A file of more than 10,000 such parts gets larger ones. Default 16 MiB. */
  readonly partBytes?: number;
}

/** A multipart upload that a later attempt can go on with. */
export interface MultipartUpload {
  readonly uploadId: string;
  readonly partBytes: number;
}

export interface S3UploadContext extends UploadContext {
  /** What an earlier attempt has begun. */
  readonly begun: MultipartUpload | undefined;
  /** Stores, before the first part is sent, what was begun; undefined if that is of no use any more. */
  begin(upload: MultipartUpload | undefined): Promise<void>;
}

const PART_BYTES = 16 * 1024 * 1024;
const MAX_PARTS = 10_000;
const CONNECT_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 120_000;
const OWNER_KEY = 'weir-upload';
/** Refusals that another attempt can avoid, because the request was lost or damaged on the way. */
const DAMAGED = new Set(['BadDigest', 'IncompleteBody', 'RequestTimeout', 'XAmzContentSHA256Mismatch']);

interface Target {
  readonly Bucket: string;
  readonly Key: string;
}

const crcOf = (bytes: Buffer): string => {
  const crc = Buffer.alloc(4);
  crc.writeUInt32BE(crc32(bytes));
  return crc.toString('base64');
};

const statusOf = (error: unknown): number | undefined =>
  error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined;

/**
 * S3 and similar stores, by the official SDK. A file that fits into one part is one request, a larger one a multipart
 * upload that later attempts go on with. Each request has a CRC32. Nothing is overwritten.
 */
export class S3Storage {
  readonly #client: S3Client;
  readonly #endpoint: URL;

  constructor(
    private readonly settings: S3Settings,
    private readonly guard: Pick<OutboundGuard, 'check' | 'checkHost'>,
  ) {
    const { endpoint, region, pathStyle, credentials } = settings;
    this.#endpoint = new URL(endpoint ?? `https://s3.${region}.amazonaws.com`);
    const agentOptions = { keepAlive: true, lookup: this.#lookup() };
    this.#client = new S3Client({
      region,
      forcePathStyle: pathStyle,
      ...(endpoint !== undefined && { endpoint }),
      ...(credentials !== undefined && { credentials: { ...credentials } }),
      // The outbox makes further attempts.
      maxAttempts: 1,
      responseChecksumValidation: 'WHEN_REQUIRED',
      requestHandler: {
        connectionTimeout: CONNECT_TIMEOUT_MS,
        requestTimeout: REQUEST_TIMEOUT_MS,
        throwOnRequestTimeout: true,
        httpAgent: new Agent(agentOptions),
        httpsAgent: new TlsAgent(agentOptions),
      },
    });
  }

  /** @param id of the upload; it tells whether an earlier attempt has made the object */
  async upload(id: string, key: string, file: UploadFile, context: S3UploadContext): Promise<UploadResult> {
    const target = this.#target(key);
    let handle: FileHandle | undefined;
    try {
      await this.guard.check(this.#endpoint, { schemes: ['https', 'http'], signal: context.signal });
      handle = await open(file.path, 'r');
      const partBytes = context.begun?.partBytes ?? this.#partBytes(file.sizeBytes);
      if (file.sizeBytes <= partBytes) await this.#putWhole(target, id, file, handle, context.signal);
      else await this.#putParts(target, id, file, handle, partBytes, context);
      return await this.#confirmed(target, id, file, context);
    } catch (error) {
      return await this.#failureOf(error, target, id, file, context);
    } finally {
      await handle?.close();
    }
  }

  /** Removes the parts of uploads to the key that were never completed, so that they cost nothing. */
  async abort(key: string, signal: AbortSignal): Promise<void> {
    await this.#abortAll(this.#target(key), signal);
  }

  close(): void {
    this.#client.destroy();
  }

  #target(key: string): Target {
    return { Bucket: this.settings.bucket, Key: `${this.settings.prefix}${key}` };
  }

  #partBytes(sizeBytes: number): number {
    return Math.max(this.settings.partBytes ?? PART_BYTES, Math.ceil(sizeBytes / MAX_PARTS));
  }

  /** The SDK makes the host's name from endpoint and bucket, so it is checked where it is resolved. */
  #lookup(): LookupFunction {
    const scheme = this.#endpoint.protocol.slice(0, -1);
    const port = Number(this.#endpoint.port) || (scheme === 'https' ? 443 : 80);
    return (hostname, options, callback) => {
      this.guard.checkHost(hostname, port, { scheme }).then(
        (target) => target.lookup(hostname, options, callback),
        (error: unknown) => callback(error instanceof Error ? error : new Error(String(error)), []),
      );
    };
  }

  async #putWhole(
    target: Target,
    id: string,
    file: UploadFile,
    handle: FileHandle,
    abortSignal: AbortSignal,
  ): Promise<void> {
    const Body = await readPart(handle, 0, file.sizeBytes);
    await this.#client.send(
      new PutObjectCommand({
        ...{ ...target, Body, ContentLength: Body.length, ContentType: file.contentType },
        ...{ IfNoneMatch: '*', ChecksumCRC32: crcOf(Body), Metadata: { [OWNER_KEY]: id } },
      }),
      { abortSignal },
    );
  }

  async #putParts(
    target: Target,
    id: string,
    file: UploadFile,
    handle: FileHandle,
    partBytes: number,
    context: S3UploadContext,
  ): Promise<void> {
    const there = context.begun === undefined ? [] : await this.#listParts(target, context.begun, context.signal);
    const UploadId = context.begun?.uploadId ?? (await this.#create(target, id, file, partBytes, context));
    const parts: CompletedPart[] = [];
    for (let at = 0; at < file.sizeBytes; at += partBytes) {
      const Body = await readPart(handle, at, Math.min(partBytes, file.sizeBytes - at));
      const PartNumber = parts.length + 1;
      const ChecksumCRC32 = crcOf(Body);
      const old = there.find((part) => part.PartNumber === PartNumber);
      const isThere = old?.Size === Body.length && (old.ChecksumCRC32 ?? ChecksumCRC32) === ChecksumCRC32;
      const { ETag } = isThere
        ? old
        : await this.#client.send(
            new UploadPartCommand({ ...target, UploadId, PartNumber, Body, ContentLength: Body.length, ChecksumCRC32 }),
            { abortSignal: context.signal },
          );
      parts.push({ PartNumber, ETag, ChecksumCRC32 });
      context.progress(at + Body.length);
    }
    await this.#client.send(
      new CompleteMultipartUploadCommand({ ...target, UploadId, IfNoneMatch: '*', MultipartUpload: { Parts: parts } }),
      { abortSignal: context.signal },
    );
  }

  async #create(
    target: Target,
    id: string,
    file: UploadFile,
    partBytes: number,
    context: S3UploadContext,
  ): Promise<string> {
    // An upload whose id could not be stored is found by its key.
    await this.#abortAll(target, context.signal);
    const { UploadId: uploadId } = await this.#client.send(
      new CreateMultipartUploadCommand({
        ...{ ...target, ContentType: file.contentType, ChecksumAlgorithm: 'CRC32', Metadata: { [OWNER_KEY]: id } },
      }),
      { abortSignal: context.signal },
    );
    if (uploadId === undefined) throw new TypeError('The storage named no upload');
    await context.begin({ uploadId, partBytes });
    return uploadId;
  }

  /** If the storage allows no listing or no removal, the parts are left to the storage's own rules. */
  async #abortAll(target: Target, abortSignal: AbortSignal): Promise<void> {
    try {
      const { Uploads = [] } = await this.#client.send(
        new ListMultipartUploadsCommand({ Bucket: target.Bucket, Prefix: target.Key }),
        { abortSignal },
      );
      for (const { Key, UploadId } of Uploads)
        if (Key === target.Key)
          await this.#client.send(new AbortMultipartUploadCommand({ ...target, UploadId }), { abortSignal });
    } catch (error) {
      if (![403, 404, 501].includes(statusOf(error) ?? 0)) throw error;
    }
  }

  async #listParts(target: Target, { uploadId }: MultipartUpload, abortSignal: AbortSignal): Promise<Part[]> {
    const parts: Part[] = [];
    for (let PartNumberMarker: string | undefined; ;) {
      const page = await this.#client.send(
        new ListPartsCommand({
          ...target,
          UploadId: uploadId,
          ...(PartNumberMarker !== undefined && { PartNumberMarker }),
        }),
        { abortSignal },
      );
      parts.push(...(page.Parts ?? []));
      if (page.IsTruncated !== true || page.NextPartNumberMarker === undefined) return parts;
      PartNumberMarker = page.NextPartNumberMarker;
    }
  }

  async #confirmed(target: Target, id: string, file: UploadFile, context: UploadContext): Promise<UploadResult> {
    const found = await this.#found(target, id, context.signal);
    // Each part was accepted with its CRC32.
    if (found === 'unreadable') return { tag: 'uploaded', confirmation: { by: 'checksum' } };
    if (found === 'missing') return { tag: 'retry', words: 'the storage doesn’t have the object it has accepted' };
    if (found.sizeBytes !== file.sizeBytes)
      return { tag: 'retry', words: `the storage has ${found.sizeBytes} bytes instead of ${file.sizeBytes}` };
    context.progress(file.sizeBytes);
    return { tag: 'uploaded', confirmation: { by: 'size' } };
  }

  async #found(
    target: Target,
    id: string,
    abortSignal: AbortSignal,
  ): Promise<{ readonly sizeBytes: number; readonly own: boolean } | 'missing' | 'unreadable'> {
    try {
      const { ContentLength = 0, Metadata } = await this.#client.send(new HeadObjectCommand(target), { abortSignal });
      return { sizeBytes: ContentLength, own: Metadata?.[OWNER_KEY] === id };
    } catch (error) {
      const status = statusOf(error);
      if (status === 404) return 'missing';
      if (status === 403) return 'unreadable';
      throw error;
    }
  }

  async #failureOf(
    error: unknown,
    target: Target,
    id: string,
    file: UploadFile,
    context: S3UploadContext,
  ): Promise<UploadResult> {
    context.signal.throwIfAborted();
    const status = statusOf(error);
    if (status === undefined || !(error instanceof S3ServiceException)) return connectionFailure(error);
    const says = { status, words: `the storage says ${status} (${error.name})` };
    try {
      if (status === 412 || error.name === 'NoSuchUpload') return await this.#already(target, id, file, context, says);
      if (status === 409) return await this.#startAgain(target, context, says);
    } catch (cause) {
      if (!(cause instanceof S3ServiceException)) return connectionFailure(cause);
    }
    const refused = status === 400 && !DAMAGED.has(error.name);
    return { tag: refused ? 'refused' : 'retry', ...says };
  }

  /** Called when the object exists or the upload no longer does: perhaps an earlier attempt has completed it. */
  async #already(
    target: Target,
    id: string,
    file: UploadFile,
    context: S3UploadContext,
    says: { readonly status: number; readonly words: string },
  ): Promise<UploadResult> {
    const found = await this.#found(target, id, context.signal);
    if (typeof found === 'object' && found.own && found.sizeBytes === file.sizeBytes)
      return { tag: 'uploaded', confirmation: { by: 'size' } };
    if (says.status !== 412) return await this.#startAgain(target, context, says);
    return { tag: 'refused', status: says.status, words: 'the storage has another object with this key' };
  }

  async #startAgain(
    target: Target,
    context: S3UploadContext,
    says: { readonly status: number; readonly words: string },
  ): Promise<UploadResult> {
    await context.begin(undefined);
    await this.#abortAll(target, context.signal);
    return { tag: 'retry', ...says, words: `${says.words}; the upload starts again` };
  }
}

const readPart = async (handle: FileHandle, at: number, length: number): Promise<Buffer> => {
  const bytes = Buffer.allocUnsafe(length);
  for (let read = 0; read < length;) {
    const { bytesRead } = await handle.read(bytes, read, length - read, at + read);
    if (bytesRead === 0) throw new RangeError('The file is shorter than it was');
    read += bytesRead;
  }
  return bytes;
};

/** Errors of the outbound guard reveal no more than the host; of any other error the code says enough. */
const connectionFailure = (error: unknown): UploadResult => {
  if (error instanceof OutboundFailed) return { tag: 'retry', words: error.message };
  if (error instanceof OutboundRefused) return { tag: 'retry', words: error.message };
  if (!(error instanceof Error)) throw error;
  const code = 'code' in error ? String(error.code) : error.name;
  return { tag: 'retry', words: `the connection to the storage failed (${code})` };
};
