import { Controller, Get, Inject, NotFoundException, Req, Res } from '@nestjs/common';
import { AnswersFile, failureSchema } from '@weir/rest';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { byteRange } from '@weir/rest';
import { GzippedTexts, takesGzip } from './gzipped-texts.js';
import { HlsMetrics, type ServedKind } from './metrics.js';
import { parseVideoPath, type VideoFile } from './video-path.js';
import { Videos, type Viewer } from './videos.js';

const PLAYLIST_TYPE = 'application/vnd.apple.mpegurl';
const SEGMENT_TYPE = 'video/mp4';
/** The bytes of a segment's number never change, so this only limits how long caches keep what nobody needs. */
const SEGMENT_MAX_AGE_S = 300;

export function viewerOf(request: FastifyRequest, reply: FastifyReply): Viewer {
  const gone = new AbortController();
  reply.raw.once('close', () => gone.abort());
  const [, query = ''] = request.url.split('?', 2);
  return {
    url: request.url,
    headers: request.headers,
    address: request.ip,
    query: new URLSearchParams(query),
    signal: gone.signal,
  };
}

/** Serves playlists and the segments that they name. */
@Controller('videos')
export class VideosController {
  readonly #gzipped = new GzippedTexts();

  constructor(
    @Inject(Videos) private readonly videos: Videos,
    @Inject(HlsMetrics) private readonly metrics: HlsMetrics,
  ) {}

  @Get('*')
  @AnswersFile([PLAYLIST_TYPE, SEGMENT_TYPE], { errors: failureSchema })
  async get(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const path = parseVideoPath(request.url.split('?', 1)[0] ?? '');
    if (path === undefined) throw new NotFoundException('There is nothing at this path');
    const { target, file } = path;
    const viewer = viewerOf(request, reply);
    switch (file.tag) {
      case 'index':
        return this.#sendPlaylist(request, reply, await this.videos.index(viewer, target));
      case 'media':
        return this.#sendPlaylist(request, reply, await this.videos.media(viewer, target));
      case 'init':
      case 'segment':
      case 'part': {
        const { bytes, byTicket } = await this.videos.resource(viewer, target, file);
        reply.header('cache-control', `${byTicket ? 'public' : 'private'}, max-age=${SEGMENT_MAX_AGE_S}, immutable`);
        return this.#sendBytes(request, reply, file, bytes);
      }
      default:
        return file satisfies never;
    }
  }

  async #sendPlaylist(request: FastifyRequest, reply: FastifyReply, text: string): Promise<void> {
    // Playlists contain tickets, so they are only for the viewer that has asked.
    reply.header('cache-control', 'private, no-cache').header('vary', 'accept-encoding').type(PLAYLIST_TYPE);
    const accepted = request.headers['accept-encoding'];
    const isGzipped = takesGzip(Array.isArray(accepted) ? accepted.join() : accepted);
    const body = isGzipped ? await this.#gzipped.of(text) : text;
    if (isGzipped) reply.header('content-encoding', 'gzip');
    this.metrics.served('playlist', body.length);
    await reply.send(body);
  }

  async #sendBytes(request: FastifyRequest, reply: FastifyReply, file: VideoFile, bytes: Uint8Array): Promise<void> {
    reply.type(SEGMENT_TYPE).header('accept-ranges', 'bytes');
    const range = byteRange(request.headers.range, bytes.length);
    switch (range.tag) {
      case 'unsatisfiable':
        await reply
          .code(416)
          .header('cache-control', 'no-store')
          .header('content-range', `bytes */${bytes.length}`)
          .send();
        return;
      case 'part': {
        const { first, last } = range;
        reply.code(206).header('content-range', `bytes ${first}-${last}/${bytes.length}`);
        return this.#send(reply, file.tag, bytes.subarray(first, last + 1));
      }
      case 'whole':
        return this.#send(reply, file.tag, bytes);
      default:
        return range satisfies never;
    }
  }

  async #send(reply: FastifyReply, kind: VideoFile['tag'], bytes: Uint8Array): Promise<void> {
    const served: ServedKind = kind === 'index' || kind === 'media' ? 'playlist' : kind;
    this.metrics.served(served, bytes.length);
    await reply.send(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
  }
}
