import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { nobodyServes, type Bus, type Registration } from '@weir/bus';
import { Calls as CallsContract, isWeirError } from '@weir/contracts';
import type { MediaClient } from '@weir/media-client';
import { Instances, type Logger } from '@weir/platform';
import {
  CALL_SETTINGS,
  encodeRequest,
  ERROR_CODE,
  newCall,
  parseCallUrl,
  readRequest,
  sidesOf,
  type CallSettings,
  type CallState,
  type DeviceEvent,
  type DeviceRequest,
  type ErrorCode,
  type Side,
} from '@weir/protocol-topvdn';
import { CALL_BROKERS } from './call-brokers.js';
import type { CallLeases } from './call-leases.js';
import { NO_SUCH_CALL } from './call-news.js';
import { callSnapshot, type CallSnapshot, type LegMedia } from './call-snapshot.js';
import type { CallStore } from './call-store.js';
import type { DeviceChannels, DeviceListener } from './device-channels.js';
import type { CallRequest, ConnectedDevice } from './device-socket.js';
import type { DeviceTokens, TokenHolder } from './device-tokens.js';
import { LiveCall, streamNameOf, type LiveCallPorts } from './live-call.js';
import type { PushedMessage } from './messages.js';

export interface CallsPorts {
  readonly bus: Bus;
  readonly leases: CallLeases;
  readonly store: CallStore;
  readonly media: MediaClient;
  readonly tokens: Pick<DeviceTokens, 'authenticate'>;
  readonly channels: () => Pick<DeviceChannels, 'send' | 'setState' | 'presences'>;
  readonly reserveNames: LiveCallPorts['reserveNames'];
  readonly iceServersFor: LiveCallPorts['iceServersFor'];
  readonly settings?: CallSettings;
  readonly log: Logger;
}

/** A refusal with the code that the device gets. */
class Refused extends Error {
  constructor(
    readonly code: ErrorCode,
    message: string,
  ) {
    super(message);
  }
}

type AboutUrl = Extract<CallRequest, { url: string }>;

/** In a message, with the blank that some of the vendor's samples have. */
const CALL_URL = /topvdn:\/\/[^\s"'<>]+(?: &[^\s"'<>]+)*/i;

const TICK_INTERVAL_MS = 200;
const RENEW_INTERVAL_MS = 10_000;
const LOOK_FOR_ORPHANS_MS = 10_000;
/** How long a request waits for an instance that takes over its call. */
const TAKE_OVER_WITHIN_MS = 10_000;
const ASK_AGAIN_MS = 300;

/**
 * All calls. Each is run by one instance, which has its lease; requests of devices on other instances are passed to it.
 * When an instance is gone, another one goes on with its calls, whose media go on meanwhile.
 */
export class Calls implements DeviceListener {
  readonly #live = new Map<string, LiveCall>();
  /** The requests of each device are handled one after the other. */
  readonly #turns = new Map<number, Promise<void>>();
  readonly #working = new Set<Promise<unknown>>();
  readonly #registrations: readonly Registration[];
  readonly #instances: Instances;
  readonly #ticker: NodeJS.Timeout;
  #renewDueMs = 0;
  #lookDueMs = 0;
  #isUpkeeping = false;
  #isClosing = false;

  constructor(private readonly ports: CallsPorts) {
    const { bus, log } = ports;
    this.#registrations = [
      bus.serve(CallsContract.method.give, ({ callId, cid, frame }) => {
        const call = this.#live.get(callId);
        const read = readRequest(frame);
        if (read.tag === 'request') call?.asks(cid, read.request);
        return { taken: call !== undefined };
      }),
      bus.serve(CallsContract.method.record, async ({ tenant, callId }) => ({
        recorded: await this.#recordHere(tenant, callId),
      })),
    ];
    this.#instances = new Instances({
      ...{ bus, ...CALL_BROKERS },
      onLost: (instanceId) =>
        this.#background(
          this.#takeOverFrom(instanceId).catch((error: unknown) => {
            log.warn({ err: error, instanceId }, 'the calls of an instance that is gone could not be taken over');
          }),
        ),
    });
    this.#ticker = setInterval(() => this.#tick(), TICK_INTERVAL_MS);
  }

  /** The number of calls that this instance runs. */
  get count(): number {
    return this.#live.size;
  }

  /** The calls that this instance runs. */
  get ids(): readonly string[] {
    return [...this.#live.keys()];
  }

  asked(device: ConnectedDevice, request: CallRequest): void {
    const { cid } = device;
    const before = this.#turns.get(cid) ?? Promise.resolve();
    const turn: Promise<void> = before
      .then(() => this.#answer(device, request))
      .catch((error: unknown) => this.#refuse(cid, request, error))
      .finally(() => {
        if (this.#turns.get(cid) === turn) this.#turns.delete(cid);
      });
    this.#turns.set(cid, turn);
    this.#background(turn);
  }

  arrived(cid: number): void {
    for (const call of this.#live.values()) if (call.has(cid)) call.back(cid);
  }

  gone(cid: number): void {
    for (const call of this.#live.values()) if (call.has(cid)) call.take({ tag: 'gone', cid });
  }

  /**
   * The caller's URL is on its way to these devices. They are told when one of them has answered, or nobody did.
   * Does nothing if the caller is in a call.
   */
  async ring(
    { cid, tenant, appId }: Pick<ConnectedDevice, 'cid' | 'tenant' | 'appId'>,
    rung: readonly number[],
  ): Promise<void> {
    const { leases } = this.ports;
    if ((await leases.callOf(cid)) !== undefined) return;
    const earlier = await leases.ringOf(cid);
    if (earlier !== undefined) await this.#give(earlier, cid, { type: 'cancel' }).catch(() => undefined); // it has just ended
    const call = await this.#begin({ caller: cid, rung, tenant, appId });
    call.rings(await leases.ring(cid, call.callId));
  }

  /** Records a call that goes on. @returns false if this tenant has no such call @throws WeirError of the recorder */
  async record(tenant: string, callId: string): Promise<boolean> {
    if (this.#live.has(callId)) return this.#recordHere(tenant, callId);
    const stored = await this.ports.leases.find(callId);
    if (stored === undefined || stored.owner === this.ports.bus.instanceId) return false;
    const { owner: instanceId } = stored;
    return (await this.ports.bus.call(CallsContract.method.record, { instanceId, tenant, callId })).recorded;
  }

  async #recordHere(tenant: string, callId: string): Promise<boolean> {
    const live = this.#live.get(callId);
    if (live === undefined || live.tenant !== tenant) return false;
    await live.record();
    return true;
  }

  /** Messages are on their way to devices. A device whose URL is in one of them calls those that get it. Never rejects. */
  async pushed(messages: readonly Pick<PushedMessage, 'to' | 'msg'>[]): Promise<void> {
    const rung = new Map<string, number[]>();
    for (const { to, msg } of messages) {
      const [url] = CALL_URL.exec(Buffer.from(msg, 'base64').toString()) ?? [];
      if (url !== undefined) rung.set(url, [...(rung.get(url) ?? []), to]);
    }
    for (const [url, cids] of rung)
      try {
        const reading = parseCallUrl(url);
        if (reading.tag === 'refused') continue;
        const { cid, app } = await this.ports.tokens.authenticate(reading.url.token);
        await this.ring({ cid, tenant: app.tenant, appId: app.id }, cids);
      } catch (error) {
        // Whoever opens the URL hears why that can't be.
        this.ports.log.info({ err: error }, 'a call does not ring');
      }
  }

  /** The picture that the device sends in its call, as PNG; undefined if it sends none. */
  async picture(cid: number): Promise<Buffer | undefined> {
    const sent = await this.#sentBy(cid);
    if (sent === undefined || sent.leg.video === '') return undefined;
    const { tenant, streamName, leg } = sent;
    try {
      return await this.ports.media.snapshot({ tenant, streamName, nodeId: leg.nodeId });
    } catch (error) {
      this.ports.log.info({ err: error, streamName }, 'a call has no picture now');
      return undefined;
    }
  }

  /** The name of the stream that the device sends in its call; undefined if it sends none. */
  async streamOf(cid: number): Promise<string | undefined> {
    const sent = await this.#sentBy(cid);
    return sent?.leg.sends === true ? sent.streamName : undefined;
  }

  async #sentBy(cid: number): Promise<{ tenant: string; streamName: string; leg: LegMedia } | undefined> {
    const { leases } = this.ports;
    const callId = await leases.callOf(cid);
    const snapshot = callId === undefined ? undefined : (await leases.find(callId))?.snapshot;
    const sides = snapshot && sidesOf(snapshot.call);
    if (callId === undefined || snapshot === undefined || sides === undefined) return undefined;
    const side: Side = sides.caller === cid ? 'caller' : 'callee';
    const leg = snapshot.media[side];
    return leg && { tenant: snapshot.tenant, streamName: streamNameOf(callId, side), leg };
  }

  /** The calls of a tenant that have ended, the newest first. */
  records(...asked: Parameters<CallStore['page']>): ReturnType<CallStore['page']> {
    return this.ports.store.page(...asked);
  }

  /** Writes the leases of this instance's calls again, now: Redis may have lost them. */
  renewSoon(): void {
    this.#renewDueMs = 0;
  }

  /** Leaves the calls to other instances; their media go on. */
  async close(): Promise<void> {
    this.#isClosing = true;
    clearInterval(this.#ticker);
    await Promise.all([...this.#registrations.map((each) => each.close()), this.#instances.close()]);
    await Promise.allSettled([...this.#working]);
    this.#live.clear();
  }

  async #answer(device: ConnectedDevice, request: CallRequest): Promise<void> {
    const { cid } = device;
    const ref = 'ref' in request && request.ref !== undefined ? { ref: request.ref } : {};
    switch (request.type) {
      case 'open':
        return this.#open(device, request);
      case 'join':
      case 'restart':
      case 'candidate':
      case 'quality':
        return this.#give(request.call_id, cid, request);
      case 'mute':
        await this.#give(request.call_id, cid, request);
        return this.#tell(cid, { type: 'done', ...ref });
      case 'close':
        // Closing twice is no error.
        await this.#give(request.call_id, cid, request).catch((error: unknown) => {
          if (!(error instanceof Refused && error.code === ERROR_CODE.notFound)) throw error;
        });
        return this.#tell(cid, { type: 'closed', ...ref, call_id: request.call_id });
      case 'ringing':
      case 'decline': {
        const caller = await this.#holderOf(device, request);
        const callId = await this.ports.leases.ringOf(caller.cid);
        if (callId !== undefined) await this.#give(callId, cid, request);
        return this.#tell(cid, { type: 'done', ...ref });
      }
      case 'cancel': {
        const callId = await this.ports.leases.ringOf(cid);
        if (callId !== undefined) await this.#give(callId, cid, request);
        return this.#tell(cid, { type: 'done', ...ref });
      }
      case 'state': {
        const { calls, rings } = await this.#knownOf(cid);
        return this.#tell(cid, {
          type: 'state',
          ...ref,
          cid,
          calls,
          rings,
          ice_servers: this.ports.iceServersFor(cid),
        });
      }
      default:
        request satisfies never;
    }
  }

  async #open(device: ConnectedDevice, request: Extract<CallRequest, { type: 'open' }>): Promise<void> {
    const { leases, channels } = this.ports;
    const { cid: caller, app } = await this.#holderOf(device, request);
    if (caller === device.cid) throw new Refused(ERROR_CODE.self, 'A device can’t call itself');
    if (!(await channels().presences([caller])).has(caller))
      throw new Refused(ERROR_CODE.offline, 'The device of the URL isn’t connected');
    const [inCall, rings] = await Promise.all([leases.callOf(caller), leases.ringOf(caller)]);
    const known = inCall ?? rings;
    if (known !== undefined) {
      try {
        return await this.#give(known, device.cid, request);
      } catch (error) {
        // It has just ended.
        if (!(error instanceof Refused && error.code === ERROR_CODE.notFound)) throw error;
      }
    }
    const call = await this.#begin({ caller, rung: [], tenant: app.tenant, appId: app.id });
    call.asks(device.cid, request);
  }

  async #begin(call: {
    readonly caller: number;
    readonly rung: readonly number[];
    readonly tenant: string;
    readonly appId: string;
  }): Promise<LiveCall> {
    const { caller, rung, tenant, appId } = call;
    if (this.#isClosing) throw new Refused(ERROR_CODE.unavailable, 'The server is going down; connect again');
    const callId = randomUUID();
    const nowMs = Date.now();
    const { settings = CALL_SETTINGS } = this.ports;
    const begun = newCall({ callId, caller, rung, settings }, nowMs);
    const snapshot: CallSnapshot = {
      ...{ tenant, appId, call: callSnapshot.shape.call.parse(begun), media: {}, places: [], ring: null },
      ...{ record: false, startedMs: nowMs, establishedMs: null, quality: {}, notCarried: [] },
    };
    const epoch = await this.ports.leases.begin(callId, snapshot);
    const live = this.#keep(new LiveCall(this.#livePorts, callId, snapshot, epoch));
    live.writeRecord();
    return live;
  }

  #keep(call: LiveCall): LiveCall {
    this.#live.set(call.callId, call);
    return call;
  }

  /** The device whose URL it is. */
  async #holderOf(device: ConnectedDevice, { url }: AboutUrl): Promise<TokenHolder> {
    const reading = parseCallUrl(url);
    if (reading.tag === 'refused')
      throw new Refused(ERROR_CODE.parameter, `This URL can’t be opened: ${reading.reason}`);
    const holder = await this.ports.tokens.authenticate(reading.url.token);
    if (holder.app.tenant !== device.tenant)
      throw new Refused(ERROR_CODE.forbidden, 'The two devices belong to different tenants');
    return holder;
  }

  /** Gives the request to its call, on whichever instance that runs. @throws Refused if there is no such call */
  async #give(callId: string, cid: number, request: DeviceRequest): Promise<void> {
    const giveUpMs = performance.now() + TAKE_OVER_WITHIN_MS;
    for (;;) {
      const live = this.#live.get(callId);
      if (live !== undefined) return live.asks(cid, request);
      const stored = await this.ports.leases.find(callId);
      if (stored === undefined) throw new Refused(NO_SUCH_CALL.code, NO_SUCH_CALL.message);
      const { owner: instanceId } = stored;
      try {
        const reply = await this.ports.bus.call(CallsContract.method.give, {
          ...{ instanceId, callId, cid, frame: encodeRequest(request) },
        });
        if (reply.taken) return;
      } catch (error) {
        if (!nobodyServes(error)) throw error;
        this.#instances.expect(instanceId);
      }
      if (performance.now() > giveUpMs)
        throw new Refused(ERROR_CODE.unavailable, 'The server that runs the call is gone; try again');
      await sleep(ASK_AGAIN_MS);
    }
  }

  /** What a device must know when it connects. */
  async #knownOf(cid: number): Promise<Pick<Extract<DeviceEvent, { type: 'state' }>, 'calls' | 'rings'>> {
    const { leases } = this.ports;
    const [inCall, rings] = await Promise.all([leases.callOf(cid), leases.ringOf(cid)]);
    const call = inCall === undefined ? undefined : await this.#stateOf(inCall, cid);
    const ringing = rings === undefined ? undefined : await leases.find(rings);
    const rung = ringing?.snapshot.call.tag === 'ringing' ? ringing.snapshot.call.rung : [];
    return {
      calls: call === undefined ? [] : [call],
      rings: rung.map((other) => ({ cid: other, direction: 'out' as const })),
    };
  }

  async #stateOf(callId: string, cid: number): Promise<CallState | undefined> {
    const call = this.#live.get(callId)?.state ?? (await this.ports.leases.find(callId))?.snapshot.call;
    const sides = call && sidesOf(call);
    if (call === undefined || sides === undefined || (sides.caller !== cid && sides.callee !== cid)) return undefined;
    const isCaller = sides.caller === cid;
    const peerMuted = 'legs' in call ? call.legs[isCaller ? 'callee' : 'caller'].muted : { audio: false, video: false };
    return {
      ...{ call_id: callId, cid: isCaller ? sides.callee : sides.caller, role: isCaller ? 'opened' : 'opener' },
      phase: call.tag === 'established' ? 'established' : 'connecting',
      peer_muted: peerMuted,
    };
  }

  get #livePorts(): LiveCallPorts {
    const { leases, store, media, bus, channels, reserveNames, iceServersFor, log } = this.ports;
    return {
      ...{ leases, store, media, bus, channels, reserveNames, iceServersFor, log },
      passOpen: async (callId, cid, frame) => {
        const read = readRequest(frame);
        if (read.tag !== 'request') return;
        await this.#give(callId, cid, read.request).catch((error: unknown) => this.#refuse(cid, read.request, error));
      },
      background: (work) => this.#background(work),
      ended: (call) => this.#live.delete(call.callId),
    };
  }

  #tell(cid: number, event: DeviceEvent): void {
    this.#background(this.ports.channels().send(cid, event));
  }

  #refuse(cid: number, request: DeviceRequest, error: unknown): void {
    const { code, message } = refusalOf(error);
    if (code === ERROR_CODE.unavailable) this.ports.log.warn({ err: error, cid }, 'a request about a call failed');
    const ref = 'ref' in request && request.ref !== undefined ? { ref: request.ref } : {};
    const callId = 'call_id' in request ? { call_id: request.call_id } : {};
    this.#tell(cid, { type: 'error', ...ref, ...callId, code, message });
  }

  #background(work: Promise<unknown>): void {
    const done: Promise<unknown> = work
      .catch((error: unknown) => this.ports.log.error({ err: error }, 'work for a call failed'))
      .finally(() => this.#working.delete(done));
    this.#working.add(done);
  }

  #tick(): void {
    const nowMs = Date.now();
    for (const call of [...this.#live.values()]) if (call.deadlineMs <= nowMs) call.take({ tag: 'tick' });
    const awakeMs = performance.now();
    if (this.#isUpkeeping || (awakeMs < this.#renewDueMs && awakeMs < this.#lookDueMs)) return;
    this.#isUpkeeping = true;
    this.#background(
      this.#upkeep(awakeMs).finally(() => {
        this.#isUpkeeping = false;
      }),
    );
  }

  /** Renews the leases of this instance's calls, and watches the instances of the others. */
  async #upkeep(awakeMs: number): Promise<void> {
    try {
      if (awakeMs >= this.#renewDueMs) {
        this.#renewDueMs = awakeMs + RENEW_INTERVAL_MS;
        for (const call of [...this.#live.values()]) await call.renew();
      }
      if (awakeMs < this.#lookDueMs) return;
      this.#lookDueMs = awakeMs + LOOK_FOR_ORPHANS_MS;
      const owners = new Set((await this.ports.leases.all()).map(({ stored }) => stored.owner));
      for (const owner of owners) if (owner !== this.ports.bus.instanceId) this.#instances.expect(owner);
    } catch (error) {
      this.ports.log.warn({ err: error }, 'calls could not be looked after');
    }
  }

  async #takeOverFrom(instanceId: string): Promise<void> {
    const { leases, log, channels } = this.ports;
    for (const { callId, stored } of await leases.all()) {
      if (this.#isClosing || stored.owner !== instanceId) continue;
      const epoch = await leases.takeOver(callId, stored);
      if (epoch === undefined) continue;
      log.info({ callId, from: instanceId }, 'a call is taken over');
      const call = this.#keep(new LiveCall(this.#livePorts, callId, stored.snapshot, epoch));
      call.resume();
      const sides = sidesOf(stored.snapshot.call);
      const members = sides === undefined ? [stored.snapshot.call.caller] : Object.values(sides);
      // A device that connects from now on is told of by itself; only those that are connected already are looked up.
      for (const cid of members) call.take({ tag: 'gone', cid });
      await call.renew();
      for (const { cid, instanceId: at } of (await channels().presences(members)).values())
        if (at !== instanceId) call.back(cid);
    }
  }
}

const refusalOf = (error: unknown): { readonly code: ErrorCode; readonly message: string } => {
  if (error instanceof Refused) return error;
  if (isWeirError(error) && error.fields['reason'] === 'expired')
    return { code: ERROR_CODE.tokenExpired, message: error.message };
  if (isWeirError(error) && error.fields['reason'] !== undefined)
    return { code: ERROR_CODE.tokenRefused, message: error.message };
  return { code: ERROR_CODE.unavailable, message: 'The server can’t do it now; try again' };
};
