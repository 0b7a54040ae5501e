import { Body, Controller, Get, HttpCode, HttpException, Inject, Post, Query, Req } from '@nestjs/common';
import { ErrorCode, WeirError } from '@weir/contracts';
import {
  authBody,
  cancellationBody,
  clientPushBody,
  DEVICE_CONTROL,
  DEVICE_STATE,
  doneAnswer,
  errorAnswer,
  idsAnswer,
  initString,
  makeToken,
  MAX_PAGE_SIZE,
  serverPushBody,
  SNAPSHOT,
  stateAnswer,
  stateBody,
  stateQuery,
  tokensAnswer,
  tokensBody,
  webhookAnswer,
  webhookBody,
  type DeviceEntry,
  type DoneAnswer,
  type ServerPush,
} from '@weir/protocol-topvdn';
import { Answers, parsed, Traced, publicOrigin } from '@weir/rest';
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { hookUrl } from './app-body.js';
import type { App, AppStore } from './app-store.js';
import type { AppWebhooks } from './app-webhooks.js';
import type { Calls } from './calls.js';
import type { DeviceChannels } from './device-channels.js';
import { connectionFields } from './device-state.js';
import type { Messages, PushedMessage } from './messages.js';
import type { CallBrokerMetrics } from './metrics.js';
import { endpointOf } from './endpoint.js';
import { demandOwned, demandReach, reached } from './reach.js';
import { requestIdOf } from './request-id.js';
import type { WatchAddresses } from './watch-addresses.js';
import type { WebApiCallers } from './web-api-callers.js';

export const WEB_API = Symbol('parts of the Web API');

export interface WebApiPorts {
  readonly apps: AppStore;
  readonly callers: WebApiCallers;
  readonly presence: Pick<DeviceChannels, 'presences'>;
  readonly messages: Pick<Messages, 'accept'>;
  readonly calls: Pick<Calls, 'pushed'>;
  readonly watching: Pick<WatchAddresses, 'of'>;
  readonly webhooks: Pick<AppWebhooks, 'deviceMessage' | 'isReachable'>;
  readonly metrics: Pick<CallBrokerMetrics, 'pushed'>;
  /** The URL at which clients reach the platform; if undefined, that of the request. */
  readonly publicUrl: string | undefined;
  /** The longest life of a token. */
  readonly maxTokenLifeS: number;
}

const NOT_ACCEPTABLE = 406;
const TOO_MANY = 429;
const WEB_API_ERRORS = { errors: errorAnswer };

/** The caller's own name of a push, beside the vendor's fields: a push that is repeated under it is carried out once. */
const pushName = z.object({ id: z.string().min(1).max(64).optional() });

/** The vendor's interface for application servers and devices. */
@Controller('v2')
@Traced('call web api')
export class WebApiController {
  constructor(@Inject(WEB_API) private readonly ports: WebApiPorts) {}

  @Post('devices/state')
  @HttpCode(200)
  @Answers(stateAnswer, WEB_API_ERRORS)
  async state(
    @Req() request: FastifyRequest,
    @Query() query: unknown,
    @Body() body: unknown,
  ): Promise<z.infer<typeof stateAnswer>> {
    const app = await this.ports.callers.app(request);
    const { size, page } = parsed(stateQuery, query);
    if (size > MAX_PAGE_SIZE) throw new HttpException(`size must be ${MAX_PAGE_SIZE} or less`, NOT_ACCEPTABLE);
    const { cids } = parsed(stateBody, body ?? {});
    const { found, total } = await this.#page(app, cids ?? [], size, page);
    const origin = publicOrigin(this.ports.publicUrl, request);
    return {
      init_string: initString([endpointOf(origin)]),
      devices: await this.#entries(app, found, origin),
      ...{ total, size, page, request_id: requestIdOf(request) },
    };
  }

  @Get('devices/ids')
  @Answers(idsAnswer, WEB_API_ERRORS)
  async ids(@Req() request: FastifyRequest): Promise<z.infer<typeof idsAnswer>> {
    const { id, ranges } = await this.ports.callers.app(request);
    return { app_id: id, cids: ranges, request_id: requestIdOf(request) };
  }

  @Post('devices/tokens')
  @HttpCode(200)
  @Answers(tokensAnswer, WEB_API_ERRORS)
  async tokens(@Req() request: FastifyRequest, @Body() body: unknown): Promise<z.infer<typeof tokensAnswer>> {
    const { apps, callers, maxTokenLifeS } = this.ports;
    const app = await callers.app(request);
    const { duration, cids } = parsed(tokensBody, body);
    await demandReach(apps, app, cids);
    const keys = await apps.keysOf(cids);
    const expireS = Math.floor(Date.now() / 1_000) + Math.min(duration, maxTokenLifeS);
    const tokens = cids.map((cid) => ({
      cid,
      token: makeToken({ cid, control: DEVICE_CONTROL, expireS }, keys.get(cid) ?? noOwner()),
    }));
    await apps.seen(cids);
    return { tokens, request_id: requestIdOf(request) };
  }

  /** The owner of devices lets other apps of its tenant act for them. */
  @Post('devices/auth')
  @HttpCode(200)
  @Answers(doneAnswer, WEB_API_ERRORS)
  async authorize(@Req() request: FastifyRequest, @Body() body: unknown): Promise<DoneAnswer> {
    const { apps, callers } = this.ports;
    const app = await callers.app(request);
    const { cids: devices, app_ids: appIds } = parsed(authBody, body);
    const cids = devices.map(({ cid }) => cid);
    demandOwned(app, cids);
    const texts = devices.map(({ token }) => token);
    const holders = await callers.holders(request, texts);
    if (holders.some(({ cid }, index) => cid !== cids[index]))
      throw new WeirError(ErrorCode.UNAUTHENTICATED, 'Each token must belong to the cid beside it');
    if (!(await apps.areOfTenant(app.tenant, appIds)))
      throw new WeirError(ErrorCode.FORBIDDEN, 'app_ids must name apps of the same tenant');
    await apps.grant(cids, appIds);
    return doneWith(request);
  }

  @Post('devices/auth/cancellation')
  @HttpCode(200)
  @Answers(doneAnswer, WEB_API_ERRORS)
  async cancel(@Req() request: FastifyRequest, @Body() body: unknown): Promise<DoneAnswer> {
    const { apps, callers } = this.ports;
    const app = await callers.app(request);
    const { cids, app_ids: appIds } = parsed(cancellationBody, body);
    demandOwned(app, cids);
    await apps.revoke(cids, appIds ?? undefined);
    return doneWith(request);
  }

  @Post('message/server/push')
  @HttpCode(200)
  @Answers(doneAnswer, WEB_API_ERRORS)
  async serverPush(@Req() request: FastifyRequest, @Body() body: unknown): Promise<DoneAnswer> {
    const { apps, callers } = this.ports;
    const app = await callers.app(request);
    const messages = pushedMessages(parsed(serverPushBody, body));
    const { id } = parsed(pushName, body);
    const devices = messages.flatMap(({ to, from }) => (from === 0 ? [to] : [to, from]));
    await demandReach(apps, app, [...new Set(devices)]);
    await this.#accept({ app, id, messages });
    return doneWith(request);
  }

  @Post('message/client/push')
  @HttpCode(200)
  @Answers(doneAnswer, WEB_API_ERRORS)
  async clientPush(@Req() request: FastifyRequest, @Body() body: unknown): Promise<DoneAnswer> {
    const { callers, webhooks } = this.ports;
    const { cid: from, app } = await callers.device(request);
    const { msg, flag, callback, access_tokens: texts } = parsed(clientPushBody, body);
    const called = await callers.holders(request, texts);
    const to = [...new Set(called.map(({ cid }) => cid))];
    await this.#accept({ app, messages: to.map((cid) => ({ to: cid, from, msg, flag })) });
    if (callback === 1) await webhooks.deviceMessage(app, { msg, from, to, created: Math.floor(Date.now() / 1_000) });
    return doneWith(request);
  }

  @Get('apps/webhook')
  @Answers(webhookAnswer, WEB_API_ERRORS)
  async webhook(@Req() request: FastifyRequest): Promise<z.infer<typeof webhookAnswer>> {
    return webhookJson(await this.ports.callers.app(request), request);
  }

  @Post('apps/webhook')
  @HttpCode(200)
  @Answers(webhookAnswer, WEB_API_ERRORS)
  async setWebhook(@Req() request: FastifyRequest, @Body() body: unknown): Promise<z.infer<typeof webhookAnswer>> {
    const { apps, callers, webhooks } = this.ports;
    const app = await callers.app(request);
    const { webhook, state_webhook: stateWebhook } = parsed(webhookBody, body);
    const change = { ...(webhook !== undefined && { webhook }), ...(stateWebhook !== undefined && { stateWebhook }) };
    for (const url of new Set(Object.values(change))) {
      parsed(hookUrl, url);
      if (url !== '' && !(await webhooks.isReachable(url)))
        throw new HttpException('The webhook can’t be reached from here', NOT_ACCEPTABLE);
    }
    return webhookJson((await apps.change(app.id, change)) ?? app, request);
  }

  /** The devices of a page. Devices that the app doesn't reach are left out, as if they didn't exist. */
  async #page(
    app: App,
    cids: readonly number[],
    size: number,
    page: number,
  ): Promise<{ readonly found: readonly number[]; readonly total: number }> {
    const { apps } = this.ports;
    const skip = (page - 1) * size;
    if (cids.length === 0) return apps.devicesOf(app.id, skip, size);
    const mine = [...(await reached(apps, app, [...new Set(cids)]))];
    return { found: mine.slice(skip, skip + size), total: mine.length };
  }

  async #entries({ tenant }: App, cids: readonly number[], origin: string): Promise<DeviceEntry[]> {
    const { apps, presence, watching, maxTokenLifeS } = this.ports;
    const [presences, keys] = await Promise.all([presence.presences(cids), apps.keysOf(cids)]);
    const pushing = cids.filter((cid) => presences.get(cid)?.state === DEVICE_STATE.pushing);
    const addresses = await watching.of(tenant, pushing);
    const tracker = endpointOf(origin);
    const expireS = Math.floor(Date.now() / 1_000) + Math.min(SNAPSHOT.coverUrlLifeS, maxTokenLifeS);
    return cids.flatMap((cid) => {
      const key = keys.get(cid);
      if (key === undefined) return [];
      const token = makeToken({ cid, control: 0, expireS }, key);
      return {
        cid,
        ...connectionFields(tracker, presences.get(cid)),
        cover_url: `${origin}/v2/snapshots/${cid}/cover?client_token=${token}`,
        // Every device is private, and private devices have none.
        rtmp_url: '',
        hls: addresses.has(cid) ? `${origin}${addresses.get(cid)}` : '',
      };
    });
  }

  async #accept(push: Parameters<Messages['accept']>[0]): Promise<void> {
    // The call is known before a device can open its URL.
    await this.ports.calls.pushed(push.messages);
    const outcome = await this.ports.messages.accept(push);
    this.ports.metrics.pushed(
      push.messages.map(({ flag }) => flag),
      outcome.tag,
    );
    switch (outcome.tag) {
      case 'accepted':
        return;
      case 'full':
        throw new HttpException(`Too many messages wait for ${outcome.cids.join(', ')}; push again later`, TOO_MANY);
      default:
        return outcome satisfies never;
    }
  }
}

const doneWith = (request: FastifyRequest): DoneAnswer => ({ request_id: requestIdOf(request) });

const webhookJson = ({ webhook, stateWebhook }: App, request: FastifyRequest): z.infer<typeof webhookAnswer> => ({
  ...{ webhook, state_webhook: stateWebhook },
  request_id: requestIdOf(request),
});

/** A device gets a message once, however often it is named. */
const pushedMessages = (push: ServerPush): PushedMessage[] => {
  switch (push.proxy) {
    case 0: {
      const { msg, flag, clients } = push.payload;
      return [...new Set(clients)].map((to) => ({ to, from: 0, msg, flag }));
    }
    case 1:
      return push.payload;
    default:
      return push satisfies never;
  }
};

const noOwner = (): never => {
  throw new WeirError(ErrorCode.UNAVAILABLE, 'The app of a device was changed meanwhile; try again');
};
