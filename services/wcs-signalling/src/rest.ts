import { Body, Controller, Get, HttpCode, Inject, Post } from '@nestjs/common';
import { demandPermit, type Principal } from '@weir/access';
import { Answers, Authenticated, CurrentPrincipal, noBody, parsed } from '@weir/rest';
import { ErrorCode, WeirError } from '@weir/contracts';
import type { z } from 'zod';
import { Operator, type StreamFilter } from './operator.js';
import {
  connectionsAnswer,
  connectionsBody,
  filterBody,
  recordersAnswer,
  snapshotAnswer,
  snapshotBody,
  startRecordingBody,
  stopRecordingBody,
  streamsAnswer,
  type ConnectionView,
  type RecorderView,
  type StreamView,
} from './rest-body.js';

const BYTES_PER_MEGABYTE = 1024 * 1024;

const filterOf = (body: z.output<typeof filterBody>): StreamFilter => {
  const { mediaSessionId, mediaSessionIds, name, published, status } = body ?? {};
  const ids = [...(mediaSessionIds ?? []), ...(mediaSessionId === undefined ? [] : [mediaSessionId])];
  const byId = mediaSessionId !== undefined || mediaSessionIds !== undefined;
  return { mediaSessionIds: byId ? ids : undefined, name, published, status };
};

const isEmpty = (filter: StreamFilter): boolean => Object.values(filter).every((value) => value === undefined);

const nothing = (): WeirError => new WeirError(ErrorCode.NOT_FOUND, 'Nothing that you may see matches the request');

const orNotFound = <Item>(items: readonly Item[]): readonly Item[] => {
  if (items.length === 0) throw nothing();
  return items;
};

/** Refuses a client that administers nothing. What a client sees is decided for each object. */
const demandOperator = (principal: Principal): void => {
  if (!principal.grants.some(({ verb }) => verb === 'administer'))
    demandPermit(principal, 'administer', principal.tenant, '*');
};

@Controller('rest-api/stream')
@Authenticated('header')
export class StreamController {
  constructor(@Inject(Operator) private readonly operator: Operator) {}

  @Post('find')
  @HttpCode(200)
  @Answers(streamsAnswer)
  async find(@CurrentPrincipal() principal: Principal, @Body() body: unknown): Promise<readonly StreamView[]> {
    demandOperator(principal);
    const wanted = parsed(filterBody, body);
    const withMetrics = wanted?.display?.includes('metrics') ?? false;
    return orNotFound(await this.operator.streams(principal, filterOf(wanted), withMetrics));
  }

  @Get('find')
  @Answers(streamsAnswer)
  findByGet(@CurrentPrincipal() principal: Principal): Promise<readonly StreamView[]> {
    return this.find(principal, undefined);
  }

  @Post('find_all')
  @HttpCode(200)
  @Answers(streamsAnswer)
  async findAll(@CurrentPrincipal() principal: Principal, @Body() body: unknown): Promise<readonly StreamView[]> {
    demandOperator(principal);
    const withMetrics = parsed(filterBody, body)?.display?.includes('metrics') ?? false;
    return orNotFound(await this.operator.streams(principal, {}, withMetrics));
  }

  @Get('find_all')
  @Answers(streamsAnswer)
  findAllByGet(@CurrentPrincipal() principal: Principal): Promise<readonly StreamView[]> {
    return this.findAll(principal, undefined);
  }

  @Post('terminate')
  @HttpCode(200)
  @Answers(noBody)
  async terminate(@CurrentPrincipal() principal: Principal, @Body() body: unknown): Promise<void> {
    demandOperator(principal);
    const filter = filterOf(parsed(filterBody, body));
    if (isEmpty(filter))
      throw new WeirError(ErrorCode.INVALID, 'Say which streams to terminate: by name or mediaSessionId');
    if ((await this.operator.terminateStreams(principal, filter)) === 0) throw nothing();
  }

  @Post('snapshot')
  @HttpCode(200)
  @Answers(snapshotAnswer)
  async snapshot(
    @CurrentPrincipal() principal: Principal,
    @Body() body: unknown,
  ): Promise<z.infer<typeof snapshotAnswer>> {
    demandOperator(principal);
    const { streamName } = parsed(snapshotBody, body);
    const png = await this.operator.snapshot(principal, streamName);
    return { data: png.toString('base64') };
  }

  /** A running recording ends, and the next one begins. */
  @Post('startRecording')
  @HttpCode(200)
  @Answers(noBody)
  startRecording(@CurrentPrincipal() principal: Principal, @Body() body: unknown): Promise<void> {
    return startRecordings(this.operator, principal, body);
  }

  @Post('stopRecording')
  @HttpCode(200)
  @Answers(noBody)
  stopRecording(@CurrentPrincipal() principal: Principal, @Body() body: unknown): Promise<void> {
    return stopRecordings(this.operator, principal, body);
  }
}

/** The later names of the requests for recordings. */
@Controller('rest-api/recorder')
@Authenticated('header')
export class RecorderController {
  constructor(@Inject(Operator) private readonly operator: Operator) {}

  @Post('startup')
  @HttpCode(200)
  @Answers(noBody)
  startup(@CurrentPrincipal() principal: Principal, @Body() body: unknown): Promise<void> {
    return startRecordings(this.operator, principal, body);
  }

  @Post('terminate')
  @HttpCode(200)
  @Answers(noBody)
  terminate(@CurrentPrincipal() principal: Principal, @Body() body: unknown): Promise<void> {
    return stopRecordings(this.operator, principal, body);
  }

  @Post('find_all')
  @HttpCode(200)
  @Answers(recordersAnswer)
  async findAll(@CurrentPrincipal() principal: Principal): Promise<readonly RecorderView[]> {
    demandOperator(principal);
    return orNotFound(await this.operator.recorders(principal));
  }

  @Get('find_all')
  @Answers(recordersAnswer)
  findAllByGet(@CurrentPrincipal() principal: Principal): Promise<readonly RecorderView[]> {
    return this.findAll(principal);
  }
}

const startRecordings = async (operator: Operator, principal: Principal, body: unknown): Promise<void> => {
  demandOperator(principal);
  const { mediaSessionId, config } = parsed(startRecordingBody, body);
  const { fileTemplate: name = '', rotation } = config ?? {};
  const splitMs = rotation?.isSize === false ? rotation.count * 1_000 : 0;
  const splitBytes = rotation?.isSize === true ? rotation.count * BYTES_PER_MEGABYTE : 0;
  if ((await operator.startRecordings(principal, mediaSessionId, { name, splitMs, splitBytes })) === 0) throw nothing();
};

const stopRecordings = async (operator: Operator, principal: Principal, body: unknown): Promise<void> => {
  demandOperator(principal);
  const { mediaSessionId } = parsed(stopRecordingBody, body);
  if ((await operator.stopRecordings(principal, mediaSessionId)) === 0) throw nothing();
};

@Controller('rest-api/connection')
@Authenticated('header')
export class ConnectionController {
  constructor(@Inject(Operator) private readonly operator: Operator) {}

  @Post('find_all')
  @HttpCode(200)
  @Answers(connectionsAnswer)
  async findAll(@CurrentPrincipal() principal: Principal): Promise<readonly ConnectionView[]> {
    demandOperator(principal);
    return orNotFound(await this.operator.connections(principal));
  }

  @Get('find_all')
  @Answers(connectionsAnswer)
  findAllByGet(@CurrentPrincipal() principal: Principal): Promise<readonly ConnectionView[]> {
    return this.findAll(principal);
  }

  @Post('terminate')
  @HttpCode(200)
  @Answers(noBody)
  async terminate(@CurrentPrincipal() principal: Principal, @Body() body: unknown): Promise<void> {
    demandOperator(principal);
    const { sessionId, sessionIds } = parsed(connectionsBody, body);
    const ids = [...(sessionIds ?? []), ...(sessionId === undefined ? [] : [sessionId])];
    if ((await this.operator.terminateConnections(principal, ids)) === 0) throw nothing();
  }
}
