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
import { Answers, envelopeSchema, failureSchema, success, Traced, type Envelope } from '@weir/rest';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { PACKAGING_STATES, type Packaging } from './packaging.js';
import { readStreamRequest } from './stream-request.js';
import { indexPath, parseStreamPath, targetOfStream, type VideoTarget } from './video-path.js';
import { Videos } from './videos.js';

/** The URL at which clients reach the platform: the setting's, or else that of the request. */
export class PublicUrl {
  constructor(private readonly url: string | undefined) {}

  of(request: FastifyRequest, path: string): string {
    return `${this.url ?? `${request.protocol}://${request.host}`}${path}`;
  }
}

const startAnswer = z.strictObject({ hls_url: z.string() });
const stopAnswer = z.strictObject({ stopped: z.boolean() });
const streamStatus = z
  .strictObject({
    stream: z.string(),
    state: z.enum(PACKAGING_STATES),
    hls_url: z.string(),
    codecs: z.array(z.string()).readonly(),
    /** The stream's media that viewers don't get, each with its reason. */
    not_carried: z.array(z.string()).readonly(),
    /** Whether an ffmpeg transcodes it to codecs that HLS can carry. */
    transcoding: z.boolean(),
    viewers: z.int(),
    bytes: z.int(),
    started_at: z.iso.datetime(),
  })
  .readonly();
type StreamStatus = z.infer<typeof streamStatus>;
const listAnswer = z.strictObject({ streams: z.array(streamStatus) });

/** Describes an answer in the envelope of the robots' interface. */
const AnswersInEnvelope = <Ret extends z.ZodType>(ret: Ret) => Answers(envelopeSchema(ret), { errors: failureSchema });

/** The HLS part of the robots' REST interface, with that interface's envelope. */
@Controller('stream')
@Traced('hls')
export class StreamController {
  constructor(
    @Inject(Videos) private readonly videos: Videos,
    @Inject(PublicUrl) private readonly publicUrl: PublicUrl,
  ) {}

  @Post()
  @HttpCode(200)
  @AnswersInEnvelope(startAnswer)
  async start(
    @Body() body: unknown,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Envelope<z.infer<typeof startAnswer>>> {
    reply.header('cache-control', 'no-store');
    await this.videos.authenticate(request);
    const reading = readStreamRequest(body);
    switch (reading.tag) {
      case 'invalid':
        throw new BadRequestException(`${reading.field} is missing or not valid`);
      case 'foreign':
        throw new ForbiddenException('The rtsp_url is not one of this platform');
      case 'request': {
        const target = await this.videos.start(request, reading.request);
        return success({ hls_url: this.publicUrl.of(request, indexPath(target)) });
      }
      default:
        return reading satisfies never;
    }
  }

  @Delete('*')
  @AnswersInEnvelope(stopAnswer)
  async stop(@Req() request: FastifyRequest): Promise<Envelope<z.infer<typeof stopAnswer>>> {
    await this.videos.authenticate(request);
    return success({ stopped: await this.videos.stop(request, targetIn(request)) });
  }

  @Get()
  @AnswersInEnvelope(listAnswer)
  async list(
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Envelope<z.infer<typeof listAnswer>>> {
    reply.header('cache-control', 'no-store');
    const all = await this.videos.list(request);
    return success({ streams: all.map((packaging) => this.#status(request, packaging)) });
  }

  @Get('*')
  @AnswersInEnvelope(streamStatus.optional())
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
