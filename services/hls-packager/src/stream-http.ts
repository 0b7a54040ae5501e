import {
  BadRequestException,
  Body,
  Controller,
  Delete,
  ForbiddenException,
  Get,
  HttpCode,
  Inject,
  NotFoundException,
  Post,
  Req,
  Res,
} from '@nestjs/common';
import { context, propagation, SpanKind, trace } from '@opentelemetry/api';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { success, type Envelope } from './envelope.js';
import type { Packaging } from './packaging.js';
import { readStreamRequest } from './stream-request.js';
import { indexPath, parseStreamPath, targetOfStream, type VideoTarget } from './video-path.js';
import { Videos } from './videos.js';

const tracer = trace.getTracer('@weir/hls-packager');

/** Does the work in a span of the trace that the gateway has begun. */
async function inSpan<Result>(name: string, request: FastifyRequest, work: () => Promise<Result>): Promise<Result> {
  const parent = propagation.extract(context.active(), request.headers);
  const span = tracer.startSpan(name, { kind: SpanKind.SERVER }, parent);
  try {
    return await context.with(trace.setSpan(parent, span), work);
  } finally {
    span.end();
  }
}

/** The URL at which clients reach the platform: the setting's, or else that of the request. */
export class PublicUrl {
  constructor(private readonly url: string | undefined) {}

  of(request: FastifyRequest, path: string): string {
    return `${this.url ?? `${request.protocol}://${request.host}`}${path}`;
  }
}

interface StreamStatus {
  readonly stream: string;
  readonly state: Packaging['state'];
  readonly hls_url: string;
  readonly codecs: readonly string[];
  /** The stream's media that viewers don't get, each with its reason. */
  readonly not_carried: readonly string[];
  /** Whether an ffmpeg transcodes it to codecs that HLS can carry. */
  readonly transcoding: boolean;
  readonly viewers: number;
  readonly bytes: number;
  readonly started_at: string;
}

/** The HLS part of the robots' REST interface, with that interface's envelope. */
@Controller('stream')
export class StreamController {
  constructor(
    @Inject(Videos) private readonly videos: Videos,
    @Inject(PublicUrl) private readonly publicUrl: PublicUrl,
  ) {}

  @Post()
  @HttpCode(200)
  post(
    @Body() body: unknown,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Envelope<{ hls_url: string }>> {
    reply.header('cache-control', 'no-store');
    return inSpan('hls start', request, async () => {
      await this.videos.authenticate(request);
      const reading = readStreamRequest(body);
      switch (reading.tag) {
        case 'invalid':
          throw new BadRequestException(`${reading.field} is missing or can not be used`);
        case 'foreign':
          throw new ForbiddenException('The rtsp_url is not one of this platform');
        case 'request': {
          const target = await this.videos.start(request, reading.request);
          return success({ hls_url: this.publicUrl.of(request, indexPath(target)) });
        }
        default:
          return reading satisfies never;
      }
    });
  }

  @Delete('*')
  delete(@Req() request: FastifyRequest): Promise<Envelope<{ stopped: boolean }>> {
    return inSpan('hls stop', request, async () => {
      await this.videos.authenticate(request);
      return success({ stopped: await this.videos.stop(request, targetIn(request)) });
    });
  }

  @Get()
  async list(
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Envelope<{ streams: StreamStatus[] }>> {
    reply.header('cache-control', 'no-store');
    const all = await this.videos.list(request);
    return success({ streams: all.map((packaging) => this.#status(request, packaging)) });
  }

  @Get('*')
  async get(
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Envelope<StreamStatus | undefined>> {
    reply.header('cache-control', 'no-store');
    await this.videos.authenticate(request);
    const [packaging] = await this.videos.list(request, targetIn(request));
    return success(packaging && this.#status(request, packaging));
  }

  #status(request: FastifyRequest, packaging: Packaging): StreamStatus {
    const { streamName, state, live, notCarried, transcodes, viewers, startedAtMs } = packaging;
    return {
      stream: streamName,
      state,
      hls_url: this.publicUrl.of(request, indexPath(targetOfStream(streamName))),
      codecs: live.codecs,
      not_carried: notCarried,
      transcoding: transcodes,
      viewers: viewers.count,
      bytes: live.bytes,
      started_at: new Date(startedAtMs).toISOString(),
    };
  }
}

function targetIn(request: FastifyRequest): VideoTarget {
  const target = parseStreamPath((request.url.split('?', 1)[0] ?? '').replace(/\/$/, ''));
  if (target === undefined) throw new NotFoundException('There is nothing at this path');
  return target;
}
