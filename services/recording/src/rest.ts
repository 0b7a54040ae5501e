import { createHmac, timingSafeEqual } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Post, Query, Req, Res } from '@nestjs/common';
import { demandPermit, permits, type Principal } from '@weir/access';
import { ErrorCode, WeirError } from '@weir/contracts';
import {
  Answers,
  AnswersFile,
  Authenticated,
  byteRange,
  CurrentPrincipal,
  noBody,
  parsed,
  Traced,
  publicOrigin,
} from '@weir/rest';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { Deliveries, wantedDestination } from './deliveries.js';
import { Recordings } from './recordings.js';
import { permittedRecording, RecordingStore, type RecordingPhase, type RecordingRow } from './store.js';

export const STATES = {
  STARTING: 'starting',
  RECORDING: 'recording',
  WAITING: 'waiting',
  FINISHING: 'finishing',
  FINISHED: 'finished',
  DELIVERING: 'delivering',
  DELIVERED: 'delivered',
  FAILED: 'failed',
} as const satisfies Record<RecordingPhase, string>;

const PHASES = Object.fromEntries(Object.entries(STATES).map(([phase, state]) => [state, phase])) as Record<
  (typeof STATES)[RecordingPhase],
  RecordingPhase
>;

const MAX_SPLIT_MS = 7 * 24 * 3_600_000;
const MIN_SPLIT_BYTES = 1024 * 1024;

const streamName = z.string().min(1).max(1024);
const container = z.enum(['webm', 'mp4']);
const state = z.enum(Object.values(STATES));

export const startBody = z.object({
  stream: streamName.describe('The name of a live stream of the tenant.'),
  name: z.string().max(256).optional().describe('For people.'),
  container: container.optional().describe('By default what the stream’s codecs fit into without transcoding.'),
  destination: wantedDestination.optional().describe('Where the finished file goes; by default it stays here.'),
  splitMs: z.number().int().min(1_000).max(MAX_SPLIT_MS).optional().describe('A new file begins after so long.'),
  splitBytes: z.number().int().min(MIN_SPLIT_BYTES).max(Number.MAX_SAFE_INTEGER).optional(),
  webhook: z.string().max(4_096).optional().describe('A URL that is told how the delivery of each file ended.'),
});

export const listQuery = z.object({
  stream: streamName.optional(),
  state: state.optional(),
  limit: z.coerce.number().int().min(1).max(200).default(50),
  after: z.string().max(100).optional().describe('The id of the last recording on the previous page.'),
});

const time = z.iso.datetime().nullable();

export const recordingAnswer = z.object({
  id: z.string(),
  stream: z.string(),
  name: z.string(),
  state,
  reason: z.string().describe('Why it ended, or what it waits for; for people.'),
  container: container.nullable(),
  createdAt: z.iso.datetime(),
  startedAt: time,
  firstFrameWrittenAt: time,
  firstFrameCapturedAt: time.describe('By the clock of the sender.'),
  stoppedAt: time,
  finishedAt: time,
  durationMs: z.number().int().nullable(),
  sizeBytes: z.number().int().nullable(),
  splitOf: z.string().nullable().describe('The first recording of those that one was split into.'),
  splitIndex: z.number().int(),
  deleted: z.enum(['user', 'age', 'space']).nullable().describe('Why there is no file any more.'),
  details: z.record(z.string(), z.unknown()).describe('Tracks, gaps, where parts were joined.'),
});
export type RecordingAnswer = z.infer<typeof recordingAnswer>;

export const listAnswer = z.object({
  recordings: z.array(recordingAnswer),
  next: z.string().nullable().describe('The `after` of the next page; null after the last.'),
});
export const playbackAnswer = z.object({ url: z.url(), expiresAt: z.iso.datetime() });

export const deliverBody = z.object({ destination: wantedDestination.optional() }).nullish();
export const deliveryAnswer = z.object({
  state: z.enum(['pending', 'delivering', 'delivered', 'failed']),
  at: time.describe('When it was delivered, or given up.'),
  nextAttemptAt: time,
  sentBytes: z.number().int().nullable(),
  failure: z
    .object({ words: z.string(), status: z.number().int().nullable() })
    .nullable()
    .describe('The last failure, with the HTTP status of the destination.'),
});

/** Makes and checks the signed URLs of files. */
export class PlaybackUrls {
  constructor(private readonly options: { readonly publicUrl: string | undefined; readonly ttlMs: number }) {}

  make({ id, urlKey }: RecordingRow, request: FastifyRequest): z.infer<typeof playbackAnswer> {
    const expiresAt = new Date(Math.ceil((Date.now() + this.options.ttlMs) / 1_000) * 1_000);
    const expires = String(expiresAt.getTime() / 1_000);
    const query = new URLSearchParams({ expires, signature: signatureOf(id, urlKey, expires) });
    const base = publicOrigin(this.options.publicUrl, request);
    return { url: `${base}/recordings/${id}/file?${query}`, expiresAt: expiresAt.toISOString() };
  }

  isValid({ id, urlKey }: RecordingRow, { expires, signature }: SignedQuery): boolean {
    if (urlKey === '' || Number(expires) * 1_000 < Date.now()) return false;
    const wanted = Buffer.from(signatureOf(id, urlKey, expires));
    const given = Buffer.from(signature);
    return wanted.length === given.length && timingSafeEqual(wanted, given);
  }
}

const signatureOf = (id: string, urlKey: string, expires: string): string =>
  createHmac('sha256', urlKey).update(`${id}\n${expires}`).digest('base64url');

const signedQuery = z.object({ expires: z.string().regex(/^\d{1,12}$/), signature: z.string().max(100) });
type SignedQuery = z.infer<typeof signedQuery>;
const fileQuery = signedQuery.extend({ download: z.enum(['0', '1']).default('0') });

const ENDED = new Set<RecordingPhase>(['FINISHED', 'DELIVERING', 'DELIVERED', 'FAILED']);

@Controller('recordings')
@Traced('recording')
export class RecordingsController {
  constructor(
    @Inject(Recordings) private readonly recordings: Recordings,
    @Inject(RecordingStore) private readonly store: RecordingStore,
    @Inject(Deliveries) private readonly deliveries: Deliveries,
    @Inject(PlaybackUrls) private readonly urls: PlaybackUrls,
  ) {}

  @Post()
  @Authenticated('header')
  @Answers(recordingAnswer)
  async start(@CurrentPrincipal() principal: Principal, @Body() body: unknown): Promise<RecordingAnswer> {
    const { stream, webhook, ...wishes } = parsed(startBody, body);
    const { tenant } = principal;
    demandPermit(principal, 'record', tenant, stream);
    if (wishes.destination !== undefined) await this.deliveries.demandUsable(wishes.destination);
    const problem = webhook === undefined ? undefined : await this.deliveries.webhookProblem(webhook);
    if (problem !== undefined) throw new WeirError(ErrorCode.INVALID, `webhook can't be used: ${problem}`);
    const labels = { protocol: 'rest', subject: principal.subject };
    const asked = { tenant, streamName: stream, webhookUrl: webhook, labels, ...wishes };
    return this.#answer(await this.recordings.record(asked));
  }

  @Get()
  @Authenticated('header')
  @Answers(listAnswer)
  async list(@CurrentPrincipal() principal: Principal, @Query() query: unknown): Promise<z.infer<typeof listAnswer>> {
    const { stream, state: wanted, limit, after } = parsed(listQuery, query);
    const { tenant } = principal;
    if (stream !== undefined) demandPermit(principal, 'record', tenant, stream);
    else if (!principal.grants.some(({ verb }) => verb === 'record')) demandPermit(principal, 'record', tenant, '*');
    const rows = await this.store.list({
      ...{ tenant, streamName: stream, after, limit: limit + 1 },
      states: wanted === undefined ? undefined : [PHASES[wanted]],
    });
    const page = rows.slice(0, limit);
    return {
      recordings: page
        .filter((row) => permits(principal, 'record', tenant, row.streamName))
        .map((row) => this.#answer(row)),
      next: rows.length > limit ? (page.at(-1)?.id ?? null) : null,
    };
  }

  @Get(':id')
  @Authenticated('header')
  @Answers(recordingAnswer)
  async one(@CurrentPrincipal() principal: Principal, @Param('id') id: string): Promise<RecordingAnswer> {
    return this.#answer(await this.#permitted(principal, id));
  }

  @Post(':id/stop')
  @HttpCode(200)
  @Authenticated('header')
  @Answers(recordingAnswer)
  async stop(@CurrentPrincipal() principal: Principal, @Param('id') id: string): Promise<RecordingAnswer> {
    const row = await this.#permitted(principal, id);
    await this.recordings.stop(row.id);
    return this.#answer((await this.store.find(row.id)) ?? row);
  }

  /** A URL that opens the file without a credential, for `<video>`. */
  @Post(':id/playback')
  @HttpCode(200)
  @Authenticated('header')
  @Answers(playbackAnswer)
  async playback(
    @CurrentPrincipal() principal: Principal,
    @Param('id') id: string,
    @Req() request: FastifyRequest,
  ): Promise<z.infer<typeof playbackAnswer>> {
    const row = await this.#permitted(principal, id);
    demandFile(row);
    return this.urls.make(row, request);
  }

  @Get(':id/file')
  @AnswersFile(['video/webm', 'video/mp4'])
  async file(
    @Param('id') id: string,
    @Query() query: unknown,
    @Req() request: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const { download, ...signed } = parsed(fileQuery, query);
    const row = await this.store.find(id);
    if (row === undefined || !this.urls.isValid(row, signed))
      throw new WeirError(ErrorCode.UNAUTHENTICATED, 'The URL is not valid or has expired; ask for a new one');
    const container = demandFile(row);
    const path = this.recordings.folderOf(row.id).filePath(container);
    const found = await stat(path).catch(() => undefined);
    if (found === undefined) throw new WeirError(ErrorCode.NOT_FOUND, 'The file is not on this server');
    const range = byteRange(request.headers.range, found.size);
    reply.raw.setHeader('cross-origin-resource-policy', 'cross-origin');
    void reply
      .header('accept-ranges', 'bytes')
      .header('cache-control', 'private, max-age=60')
      .header('content-type', container === 'webm' ? 'video/webm' : 'video/mp4')
      .header('x-content-type-options', 'nosniff')
      .header(
        'content-disposition',
        `${download === '1' ? 'attachment' : 'inline'}; filename="${row.id}.${container}"`,
      );
    if (range.tag === 'unsatisfiable') {
      await reply.code(416).header('content-range', `bytes */${found.size}`).send();
      return;
    }
    const [first, last] = range.tag === 'part' ? [range.first, range.last] : [0, found.size - 1];
    if (range.tag === 'part') void reply.code(206).header('content-range', `bytes ${first}-${last}/${found.size}`);
    void reply.header('content-length', String(last - first + 1));
    await reply.send(createReadStream(path, { start: first, end: last }));
  }

  /** How the delivery to the recording's destination goes. */
  @Get(':id/delivery')
  @Authenticated('header')
  @Answers(deliveryAnswer)
  async delivery(
    @CurrentPrincipal() principal: Principal,
    @Param('id') id: string,
  ): Promise<z.infer<typeof deliveryAnswer>> {
    const row = await this.#permitted(principal, id);
    const state = await this.deliveries.state(row.id);
    if (state === undefined)
      throw new WeirError(
        ErrorCode.NOT_FOUND,
        'The recording has no delivery: it has no destination, or it is not finished yet',
      );
    const failure = state.tag === 'pending' ? state.lastFailure : state.tag === 'failed' ? state.failure : undefined;
    return {
      state: state.tag,
      at: 'at' in state ? state.at.toISOString() : null,
      nextAttemptAt: state.tag === 'pending' ? state.nextAttemptAt.toISOString() : null,
      sentBytes: state.tag === 'delivering' ? state.sentBytes : null,
      failure: failure === undefined ? null : { words: failure.words, status: failure.status ?? null },
    };
  }

  /** Delivers the file now, even if it was delivered or given up before; to another destination if one is named. */
  @Post(':id/delivery')
  @HttpCode(202)
  @Authenticated('header')
  @Answers(noBody)
  async deliver(
    @CurrentPrincipal() principal: Principal,
    @Param('id') id: string,
    @Body() body: unknown,
  ): Promise<void> {
    const { destination } = parsed(deliverBody, body) ?? {};
    const row = await this.#permitted(principal, id);
    demandFile(row);
    if (destination !== undefined) await this.deliveries.demandUsable(destination);
    await this.deliveries.again(row, destination);
  }

  /** Deletes the file. A recording that still runs must be stopped first. */
  @Delete(':id')
  @HttpCode(204)
  @Authenticated('header')
  @Answers(noBody)
  async remove(@CurrentPrincipal() principal: Principal, @Param('id') id: string): Promise<void> {
    const row = await this.#permitted(principal, id);
    if (!ENDED.has(row.state))
      throw new WeirError(ErrorCode.INVALID, 'The recording still runs: stop it, and delete it when it is finished');
    await this.recordings.deleteFile(row.id);
  }

  #permitted(principal: Principal, id: string): Promise<RecordingRow> {
    return permittedRecording(this.store, principal, id);
  }

  #answer(row: RecordingRow): RecordingAnswer {
    const live = this.recordings.progressOf(row.id);
    const iso = (date: Date | null): string | null => date?.toISOString() ?? null;
    return {
      ...{ id: row.id, stream: row.streamName, name: row.name, state: STATES[row.state], reason: row.reason },
      container: row.container === null ? null : container.parse(row.container),
      createdAt: row.createdAt.toISOString(),
      ...{ startedAt: iso(row.startedAt), firstFrameWrittenAt: iso(row.firstFrameAt) },
      ...{ firstFrameCapturedAt: iso(row.firstPeerFrameAt), stoppedAt: iso(row.stoppedAt) },
      finishedAt: iso(row.finishedAt),
      durationMs: row.durationMs ?? live?.durationMs ?? null,
      sizeBytes: row.sizeBytes === null ? (live?.sizeBytes ?? null) : Number(row.sizeBytes),
      ...{ splitOf: row.splitOf, splitIndex: row.splitIndex },
      deleted: z.enum(['user', 'age', 'space']).nullable().parse(row.deleted),
      details: z.record(z.string(), z.unknown()).parse(row.facts),
    };
  }
}

function demandFile(row: RecordingRow): 'webm' | 'mp4' {
  if (row.deleted !== null) throw new WeirError(ErrorCode.NOT_FOUND, 'The file was deleted', { by: row.deleted });
  if (row.finishedAt === null || row.sizeBytes === null)
    throw new WeirError(ErrorCode.NOT_FOUND, 'The recording has no file yet, or it never got one', {
      state: STATES[row.state],
    });
  return container.parse(row.container);
}
