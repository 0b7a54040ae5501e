import { Body, Controller, Get, HttpCode, HttpException, Inject, Param, Post, Req, Res } from '@nestjs/common';
import { ErrorCode, WeirError } from '@weir/contracts';
import { cidInPath, doneAnswer, errorAnswer, SNAPSHOT, type DoneAnswer } from '@weir/protocol-topvdn';
import { Answers, AnswersFile, parsed, Traced } from '@weir/rest';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Covers, IMAGE_TYPES, imageTypeOf } from './covers.js';
import { fileInForm } from './multipart-file.js';
import { requestIdOf } from './request-id.js';
import { WebApiCallers } from './web-api-callers.js';

/** The route whose body is a form with a file, and the largest body: the picture and what the form adds to it. */
export const UPLOAD = { route: '/v2/devices/:cid/snapshots', maxBodyBytes: SNAPSHOT.maxBytes + 64 * 1024 } as const;

const TOO_LARGE = 413;
const TOO_MANY = 429;

/** The pictures that show devices. */
@Controller('v2')
@Traced('call snapshot')
export class SnapshotsController {
  constructor(
    @Inject(WebApiCallers) private readonly callers: WebApiCallers,
    @Inject(Covers) private readonly covers: Covers,
  ) {}

  @Get('snapshots/:cid/cover')
  @AnswersFile(IMAGE_TYPES, { errors: errorAnswer })
  async cover(
    @Req() request: FastifyRequest,
    @Param('cid') cidText: string,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const cid = parsed(cidInPath, cidText);
    await this.callers.viewerOf(cid, request);
    const cover = await this.covers.of(cid);
    if (cover === undefined) throw new WeirError(ErrorCode.NOT_FOUND, 'There is no picture of this device yet');
    reply.raw.setHeader('cross-origin-resource-policy', 'cross-origin');
    await reply
      .header('content-type', cover.contentType)
      .header('cache-control', 'private, no-cache')
      .header('last-modified', new Date(cover.takenAtMs).toUTCString())
      .header('x-content-type-options', 'nosniff')
      .send(Buffer.from(cover.image));
  }

  @Post('devices/:cid/snapshots')
  @HttpCode(200)
  @Answers(doneAnswer, { errors: errorAnswer })
  async upload(
    @Req() request: FastifyRequest,
    @Param('cid') cidText: string,
    @Body() body: unknown,
  ): Promise<DoneAnswer> {
    const cid = parsed(cidInPath, cidText);
    const holder = await this.callers.device(request);
    if (holder.cid !== cid)
      throw new WeirError(
        ErrorCode.FORBIDDEN,
        'The token belongs to another device; use the one of the device whose picture it is',
      );
    const image = Buffer.isBuffer(body) ? fileInForm(body) : undefined;
    if (image === undefined) throw new WeirError(ErrorCode.INVALID, 'A form with the part "file" is needed');
    if (image.length > SNAPSHOT.maxBytes)
      throw new HttpException(`A picture has at most ${SNAPSHOT.maxBytes} bytes`, TOO_LARGE);
    const type = imageTypeOf(image);
    if (type === undefined) throw new WeirError(ErrorCode.INVALID, 'The file must be a JPEG, PNG, WebP or GIF');
    if (!(await this.covers.upload(cid, type, image)))
      throw new HttpException('A device may send a picture every five minutes', TOO_MANY);
    return { request_id: requestIdOf(request) };
  }
}
