import { Body, Controller, Get, HttpCode, Inject, Post } from '@nestjs/common';
import { demandPermit, permits, type Principal, credentialRefOf } from '@weir/access';
import { Answers, Authenticated, CurrentPrincipal, noBody, parsed, Traced } from '@weir/rest';
import { ErrorCode, WeirError } from '@weir/contracts';
import { Relays, type RelayView } from './relays.js';
import { createAnswer, filterBody, relayBody, relaysAnswer, type CreateAnswer, type RelayItem } from './rest-body.js';
import type { Direction } from './store.js';

const STATUS: Readonly<Record<RelayView['row']['state'], (direction: Direction) => RelayItem['status']>> = {
  NEW: () => 'NEW',
  RUNNING: (direction) => (direction === 'push' ? 'PUBLISHING' : 'PLAYING'),
  WAITING: () => 'PENDING',
  FAILED: () => 'FAILED',
};

const itemOf = ({ row, notCarried, stats }: RelayView): RelayItem => {
  const direction = row.direction === 'PUSH' ? 'push' : 'pull';
  const { localMediaSessionId, remoteMediaSessionId, localStreamName, remoteStreamName } = row;
  return {
    ...{ localMediaSessionId, remoteMediaSessionId, localStreamName, remoteStreamName, uri: row.uri },
    status: STATUS[row.state](direction),
    ...{ id: row.id, direction, reason: row.reason, retries: row.retries },
    createDate: row.createdAt.getTime(),
    ...(notCarried.length > 0 && { notCarried }),
    ...(stats === undefined
      ? {}
      : { stats: { ...stats, rttMs: stats.rttMs ?? null, availableBps: stats.availableBps ?? null } }),
  };
};

const nothing = (): WeirError => new WeirError(ErrorCode.NOT_FOUND, 'There is no such relay');

const demandSomeRelayRight = (principal: Principal): void => {
  if (!principal.grants.some(({ verb }) => verb === 'relay')) demandPermit(principal, 'relay', principal.tenant, '*');
};

@Controller('rest-api/pull')
@Traced('relay')
@Authenticated('header')
export class PullController {
  constructor(@Inject(Relays) private readonly relays: Relays) {}

  /** Publishes a stream of this server on another server. */
  @Post('push')
  @HttpCode(200)
  @Answers(createAnswer)
  push(@CurrentPrincipal() principal: Principal, @Body() body: unknown): Promise<CreateAnswer> {
    return this.#create('push', principal, body);
  }

  /** Plays another server's stream and publishes it here. */
  @Post('pull')
  @HttpCode(200)
  @Answers(createAnswer)
  pull(@CurrentPrincipal() principal: Principal, @Body() body: unknown): Promise<CreateAnswer> {
    return this.#create('pull', principal, body);
  }

  @Post('find_all')
  @HttpCode(200)
  @Answers(relaysAnswer)
  async findAll(@CurrentPrincipal() principal: Principal): Promise<readonly RelayItem[]> {
    demandSomeRelayRight(principal);
    const views = await this.#visible(principal);
    if (views.length === 0) throw nothing();
    return views.map(itemOf);
  }

  @Get('find_all')
  @Answers(relaysAnswer)
  findAllByGet(@CurrentPrincipal() principal: Principal): Promise<readonly RelayItem[]> {
    return this.findAll(principal);
  }

  /** Ends all relays that match every given field. */
  @Post('terminate')
  @HttpCode(200)
  @Answers(noBody)
  async terminate(@CurrentPrincipal() principal: Principal, @Body() body: unknown): Promise<void> {
    demandSomeRelayRight(principal);
    const wanted = Object.entries(parsed(filterBody, body) ?? {});
    if (wanted.length === 0)
      throw new WeirError(
        ErrorCode.INVALID,
        'Say which relays to terminate: by uri, localStreamName or remoteStreamName',
      );
    const views = await this.#visible(principal);
    const fitting = views.filter(({ row }) =>
      wanted.every(([field, value]) => value === undefined || row[field as keyof typeof row] === value),
    );
    if (fitting.length === 0) throw nothing();
    await this.relays.terminate(fitting.map(({ row }) => row.id));
  }

  async #create(direction: Direction, principal: Principal, body: unknown): Promise<CreateAnswer> {
    const wanted = parsed(relayBody, body);
    const { tenant } = principal;
    demandPermit(principal, 'relay', tenant, wanted.localStreamName);
    const credential = credentialRefOf(principal);
    const notCarried = await this.relays.create({ tenant, direction, ...wanted, credential });
    return notCarried.length > 0 ? { notCarried } : undefined;
  }

  async #visible(principal: Principal): Promise<RelayView[]> {
    const views = await this.relays.list(principal.tenant);
    return views.filter(({ row }) => permits(principal, 'relay', principal.tenant, row.localStreamName));
  }
}
