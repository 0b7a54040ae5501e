import { setTimeout as sleep } from 'node:timers/promises';
import type { Bus } from '@weir/bus';
import { EndReason, isWeirError, StreamRecordings } from '@weir/contracts';
import type { MediaClient, MediaSession, SessionEvent } from '@weir/media-client';
import type { Logger } from '@weir/platform';
import {
  callDeadlineMs,
  DEVICE_STATE,
  encodeRequest,
  otherOf,
  resumedCall,
  sidesOf,
  stepCall,
  type Call,
  type CallEffect,
  type CallInput,
  type CallStep,
  type DeviceEvent,
  type DeviceRequest,
  type EndCause,
  type IceServers,
  type PathQuality,
  type Side,
} from '@weir/protocol-topvdn';
import type { CallLeases, Place } from './call-leases.js';
import { eventOf, type Asked } from './call-news.js';
import type { CallSnapshot, LegMedia, NotCarried, SideQuality } from './call-snapshot.js';
import type { CallStore, OpenRecord } from './call-store.js';
import type { DeviceChannels } from './device-channels.js';

/** Streams of calls have names under this prefix, in every tenant. */
export const CALL_PREFIX = 'calls/';
export const streamNameOf = (callId: string, side: Side): string => `${CALL_PREFIX}${callId}/${side}`;

/** How long media go on while no instance runs the call. */
const ORPHAN_MS = 45_000;
const STATS_INTERVAL_MS = 2_000;
const SAVE_AGAIN_MS = 500;
const STORE_ATTEMPTS = 20;
const VIDEO_CODECS = ['VP8', 'H264', 'VP9', 'AV1'] as const;

export interface LiveCallPorts {
  readonly leases: CallLeases;
  readonly store: Pick<CallStore, 'write' | 'end'>;
  readonly media: Pick<MediaClient, 'publish' | 'renegotiate' | 'adopt'>;
  readonly bus: Pick<Bus, 'call'>;
  readonly channels: () => Pick<DeviceChannels, 'send' | 'setState'>;
  /** Gives an open to the call that it belongs to. */
  readonly passOpen: (callId: string, cid: number, frame: string) => Promise<void>;
  /** The STUN and TURN servers that a device is told. */
  readonly iceServersFor: (cid: number) => IceServers;
  /** Reserves the names of calls in a tenant. Rejects while Redis is away. */
  readonly reserveNames: (tenant: string) => Promise<void>;
  /** Takes over work that goes on by itself. A stopping service waits for it. */
  readonly background: (work: Promise<unknown>) => void;
  readonly ended: (call: LiveCall) => void;
  readonly log: Logger;
}

type LegSession = Pick<MediaSession<unknown>, 'sessionId' | 'nodeId' | 'isOpen' | 'close' | 'ended'>;

/** One call that this instance runs: feeds its machine, carries out its effects and keeps it in Redis. */
export class LiveCall {
  #call: Call;
  readonly #sessions = new Map<Side, LegSession>();
  readonly #asked = new Map<number, Asked>();
  #places: readonly Place[];
  #ring: Place | undefined;
  /** What is written to Redis and the database goes in order. */
  #writing: Promise<unknown> = Promise.resolve();
  /** The second side is opened where the first one is. */
  #opening: Promise<unknown> = Promise.resolve();
  #snapshot: CallSnapshot;
  /** Another instance runs the call by now. */
  #isTakenOver = false;
  readonly #lost = new Map<Side, { packets: bigint; lost: bigint }>();

  constructor(
    private readonly ports: LiveCallPorts,
    readonly callId: string,
    snapshot: CallSnapshot,
    private readonly epoch: bigint,
  ) {
    this.#snapshot = snapshot;
    this.#call = snapshot.call;
    this.#places = snapshot.places.map(placeIn);
    this.#ring = snapshot.ring === null ? undefined : placeIn(snapshot.ring);
  }

  get tenant(): string {
    return this.#snapshot.tenant;
  }

  get deadlineMs(): number {
    return callDeadlineMs(this.#call);
  }

  get state(): Call {
    return this.#call;
  }

  has(cid: number): boolean {
    const sides = sidesOf(this.#call);
    return this.#call.caller === cid || sides?.callee === cid;
  }

  /** The lease that says that the caller's URL rings for this call. It is released with the call. */
  rings(ring: Place): void {
    this.#ring = ring;
    this.#save();
  }

  /** Goes on with a call of an instance that is gone. */
  resume(): void {
    for (const side of SIDES) {
      const leg = this.#snapshot.media[side];
      if (leg !== undefined) this.#adopt(side, leg);
    }
    this.writeRecord();
    this.#carryOut(resumedCall(this.#call, Date.now()));
  }

  /** A call whose instance dies, and with which no other one goes on, has a record too. */
  writeRecord(): void {
    const record = this.#recordOf(this.#call);
    this.#inBackground(persistently(() => this.ports.store.write(record)));
  }

  /** The device has connected again, so its reported state is that of a device without a call. */
  back(cid: number): void {
    this.take({ tag: 'back', cid });
    const sides = sidesOf(this.#call);
    const side = SIDES.find((each) => sides?.[each] === cid);
    if (side !== undefined && this.#call.tag === 'established') this.#tellPushing(side, cid);
  }

  asks(cid: number, request: DeviceRequest): void {
    switch (request.type) {
      case 'open':
        this.#asked.set(cid, { type: 'open', ref: request.ref });
        if (request.record === true) this.#change({ record: true });
        return this.take({ tag: 'open', cid, sdp: request.sdp });
      case 'join':
      case 'restart':
        this.#asked.set(cid, { type: request.type, ref: request.ref });
        return this.take({ tag: 'join', cid, sdp: request.sdp });
      case 'close':
      case 'decline':
      case 'cancel':
        return this.take({ tag: 'close', cid });
      case 'mute': {
        const { audio, video } = request;
        return this.take({ tag: 'mute', cid, muted: { audio, video } });
      }
      case 'ringing':
        return this.take({ tag: 'rings', cid });
      case 'quality':
        return this.#measuredBy(cid, request.received, request.sent);
      case 'candidate':
        return; // the media core learns the address from the client's checks
      case 'state':
      case 'ack':
      case 'ping':
        return; // aren't about one call
      default:
        request satisfies never;
    }
  }

  take(input: CallInput): void {
    if (this.#isTakenOver || (this.#call.tag === 'ended' && input.tag !== 'claimed')) return;
    this.#carryOut(stepCall(this.#call, input, Date.now()));
  }

  /** Records both sides. @throws WeirError of the recorder */
  async record(): Promise<void> {
    this.#change({ record: true });
    const { tenant, callId } = this;
    const sides = sidesOf(this.#call);
    if (sides === undefined) return;
    for (const side of SIDES) {
      if (this.#snapshot.media[side]?.sends !== true) continue;
      const streamName = streamNameOf(callId, side);
      await this.ports.bus.call(StreamRecordings.method.start, {
        ...{ tenant, streamName, key: streamName, name: `call ${callId}, ${side}`, tellOwner: true },
        labels: { protocol: 'topvdn', callId, side, cid: String(sides[side]) },
      });
    }
  }

  /** Writes the call's leases again. */
  renew(): Promise<void> {
    // An end that comes meanwhile waits, so nothing is written again that it has released.
    const renewed = this.#writing.then(() => this.#renew());
    this.#writing = renewed.catch(() => undefined);
    return renewed;
  }

  async #renew(): Promise<void> {
    if (this.#call.tag === 'ended') return;
    if (!(await this.ports.leases.save(this.callId, this.epoch, this.#stored()))) {
      this.ports.log.warn({ callId: this.callId }, 'another instance runs the call now');
      this.#isTakenOver = true;
      return this.ports.ended(this);
    }
    await this.ports.leases.renew(this.callId, this.#places, this.#ring);
  }

  #carryOut({ state, effects }: CallStep): void {
    const before = this.#call;
    this.#call = state;
    if (state.tag === 'established' && before.tag !== 'established') this.#established();
    const isNew = state !== before && state.tag !== 'ended';
    if (isNew && effects.every(({ tag }) => tag !== 'claim')) this.#save();
    for (const effect of effects) this.#perform(effect, before);
  }

  #perform(effect: CallEffect, before: Call): void {
    switch (effect.tag) {
      case 'tell':
        return this.#tell(effect, before);
      case 'claim':
        return this.#inBackground(this.#claim(effect.cids));
      case 'open-media':
        return this.#inBackground(this.#openMedia(effect.side, effect.sdp));
      case 'restart-media':
        return this.#inBackground(this.#restartMedia(effect.side, effect.sdp));
      case 'pass-open': {
        const { to, cid, sdp } = effect;
        const ref = this.#asked.get(cid)?.ref;
        const { record } = this.#snapshot;
        const frame = encodeRequest({ type: 'open', url: '', sdp, record, ...(ref !== undefined && { ref }) });
        return this.#inBackground(this.ports.passOpen(to, cid, frame));
      }
      case 'end':
        return this.#end(effect.cause, before);
      case 'release':
        return this.#inBackground(this.ports.leases.release(this.#places));
      default:
        effect satisfies never;
    }
  }

  #tell({ cid, news }: Extract<CallEffect, { tag: 'tell' }>, before: Call): void {
    const isAnswer = news.tag === 'opened' || news.tag === 'refused';
    const asked = isAnswer ? this.#asked.get(cid) : undefined;
    if (isAnswer) this.#asked.delete(cid);
    const sides = sidesOf(this.#call) ?? sidesOf(before);
    const other = sides?.caller === cid ? sides.callee : this.#call.caller;
    const event = eventOf(news, { callId: this.callId, other, asked, iceServers: this.ports.iceServersFor(cid) });
    if (event !== undefined) this.#send(cid, event);
  }

  #send(cid: number, event: DeviceEvent): void {
    this.ports.background(this.ports.channels().send(cid, event));
  }

  async #claim(cids: readonly [number, number]): Promise<void> {
    // Another call that wants one of the places looks up whose it is, so both devices must be stored first.
    await persistently(() => this.#saved());
    const [claimed] = await Promise.all([
      persistently(() => this.ports.leases.claim(this.callId, cids)),
      persistently(() => this.ports.reserveNames(this.tenant)),
    ]);
    if (claimed.tag === 'taken') return this.take(claimed);
    this.#places = claimed.places;
    this.take({ tag: 'claimed' });
  }

  #openMedia(side: Side, sdp: string): Promise<void> {
    const opening = this.#opening.then(() => this.#open(side, sdp));
    this.#opening = opening;
    return opening;
  }

  async #open(side: Side, sdp: string): Promise<void> {
    const { callId, tenant, ports } = this;
    const other = this.#snapshot.media[otherOf(side)];
    const sides = sidesOf(this.#call);
    if (sides === undefined) return;
    try {
      const session = ports.media.publish(
        { tenant, streamName: streamNameOf(callId, side) },
        {
          offer: { sdp, tcpOnly: false, minBps: 0, maxBps: 0 },
          protocol: 'topvdn',
          heardStreamName: streamNameOf(callId, otherOf(side)),
          ...(other !== undefined && { nodeId: other.nodeId }),
          orphanMs: ORPHAN_MS,
          statsIntervalMs: STATS_INTERVAL_MS,
          // What one side sends, the other one receives in the codec in which it sends.
          videoCodecs: [...VIDEO_CODECS].sort((a, b) => Number(b === other?.video) - Number(a === other?.video)),
          claim: { owner: 'calls', publishPatterns: [], claimer: '' },
          labels: { callId, side, cid: String(sides[side]) },
          onEvent: (event) => this.#hear(side, event),
        },
      );
      this.#keep(side, session);
      const { nodeId, answerSdp, codecs, notCarried } = await session.opened;
      const leg = {
        sessionId: session.sessionId,
        nodeId,
        video: codecs.video,
        sends: codecs.audio + codecs.video !== '',
      };
      this.#change({ media: { ...this.#snapshot.media, [side]: leg } });
      this.take({ tag: 'answered', side, sdp: answerSdp });
      for (const message of notCarried) this.#notCarried({ from: side, message });
    } catch (error) {
      ports.log.info({ err: error, callId, side }, 'the media of a call could not be opened');
      this.take({ tag: 'refused', side, message: wordsOf(error) });
    }
  }

  async #restartMedia(side: Side, sdp: string): Promise<void> {
    const session = this.#sessions.get(side);
    try {
      if (session === undefined) throw new Error('The side has no media');
      const { answerSdp } = await this.ports.media.renegotiate(session, sdp);
      this.take({ tag: 'answered', side, sdp: answerSdp });
    } catch (error) {
      this.take({ tag: 'refused', side, message: wordsOf(error) });
    }
  }

  #adopt(side: Side, { sessionId, nodeId }: LegMedia): void {
    const session = this.ports.media.adopt({ sessionId, nodeId, onEvent: (event) => this.#hear(side, event) });
    this.#keep(side, session);
    session.opened
      .then(({ connected }) => {
        if (connected) this.#connected(side);
      })
      .catch((error: unknown) => {
        this.ports.log.warn({ err: error, callId: this.callId, side }, 'the media of a call are gone');
        this.take({ tag: 'media-ended', side, cause: 'media-lost' });
      });
  }

  #keep(side: Side, session: LegSession): void {
    this.#sessions.set(side, session);
    void session.ended.then((ending) => {
      if (ending.tag === 'ended') this.take({ tag: 'media-ended', side, cause: causeOf(ending.reason) });
    });
  }

  #hear(side: Side, event: SessionEvent): void {
    switch (event.case) {
      case 'connected':
        return this.#connected(side);
      case 'stats': {
        const { videoBps, audioBps, packets, lostPackets, audioLostPackets } = event.value;
        const lost = lostPackets + audioLostPackets;
        const before = this.#lost.get(side) ?? { packets: 0n, lost: 0n };
        this.#lost.set(side, { packets, lost });
        const lostNow = Number(lost - before.lost);
        const all = Number(packets - before.packets) + lostNow;
        const loss = all > 0 ? Math.min(1, Math.max(0, lostNow / all)) : 0;
        return this.#measured(side, { loss, bitrate_bps: Number(videoBps + audioBps) });
      }
      case 'notCarried':
        return this.#notCarried({ from: otherOf(side), message: event.value.reason });
      case 'videoSize':
      case 'signal':
      case 'notEnoughBandwidth':
      case 'offer':
        return;
      default:
        event satisfies never;
    }
  }

  /** Before the call is established, the caller's device may not know it yet. */
  #notCarried(missing: NotCarried): void {
    this.#change({ notCarried: [...this.#snapshot.notCarried, missing] });
    if (this.#snapshot.establishedMs !== null) this.#tellMissing(missing);
  }

  #tellMissing({ from, message }: NotCarried): void {
    const sides = sidesOf(this.#call);
    if (sides === undefined) return;
    const event = { type: 'not-carried', call_id: this.callId, message } as const;
    this.#send(sides[from], { ...event, way: 'sent' });
    this.#send(sides[otherOf(from)], { ...event, way: 'received' });
  }

  #connected(side: Side): void {
    this.take({ tag: 'connected', side, sends: this.#snapshot.media[side]?.sends === true });
  }

  #established(): void {
    if (this.#snapshot.establishedMs !== null) return;
    this.#change({ establishedMs: Date.now() });
    this.writeRecord();
    const sides = sidesOf(this.#call);
    for (const side of SIDES) if (sides !== undefined) this.#tellPushing(side, sides[side]);
    if (this.#snapshot.record) this.#inBackground(this.record());
    for (const missing of this.#snapshot.notCarried) this.#tellMissing(missing);
  }

  #tellPushing(side: Side, cid: number): void {
    if (this.#snapshot.media[side]?.sends === true)
      this.ports.background(this.ports.channels().setState(cid, DEVICE_STATE.pushing));
  }

  /** How the media of one side arrive at the platform: both are told. */
  #measured(side: Side, path: PathQuality): void {
    this.#note(side, path);
    const sides = sidesOf(this.#call);
    if (sides === undefined || this.#call.tag !== 'established') return;
    this.#send(sides[side], { type: 'quality', call_id: this.callId, sent: path });
    this.#send(sides[otherOf(side)], { type: 'quality', call_id: this.callId, received: path });
  }

  /** How a device sees the call. What it receives, the other one has sent. */
  #measuredBy(cid: number, received: PathQuality | undefined, sent: PathQuality | undefined): void {
    const sides = sidesOf(this.#call);
    const side = SIDES.find((each) => sides?.[each] === cid);
    if (sides === undefined || side === undefined) return;
    if (received !== undefined) this.#note(otherOf(side), received);
    if (sent !== undefined) this.#note(side, sent);
    this.#send(sides[otherOf(side)], {
      ...{ type: 'quality', call_id: this.callId },
      ...(received !== undefined && { sent: received }),
      ...(sent !== undefined && { received: sent }),
    });
  }

  #note(side: Side, { loss, rtt_ms: rttMs, bitrate_bps: bitrateBps }: PathQuality): void {
    const before = this.#snapshot.quality[side] ?? NO_QUALITY;
    const reports = before.reports + 1;
    const mean = (old: number, next: number): number => old + (next - old) / reports;
    const quality: SideQuality = {
      reports,
      worstLoss: Math.max(before.worstLoss, loss),
      loss: mean(before.loss, loss),
      bitrateBps: mean(before.bitrateBps, bitrateBps),
      rttMs: rttMs === undefined ? before.rttMs : Math.max(before.rttMs ?? 0, rttMs),
    };
    this.#change({ quality: { ...this.#snapshot.quality, [side]: quality } });
  }

  /** Media end first, then the devices are free, then the record is completed. */
  #end(cause: EndCause, before: Call): void {
    const { ports, callId } = this;
    const sides = sidesOf(before);
    const record = { ...this.#recordOf(before), endedMs: Date.now(), cause };
    ports.log.info({ callId, caller: before.caller, callee: sides?.callee, cause }, 'a call has ended');
    ports.ended(this);
    const ending = this.#writing.then(async () => {
      await Promise.all([...this.#sessions.values()].map((session) => session.close(EndReason.CLIENT)));
      await persistently(async () => {
        await ports.leases.release(this.#places);
        if (this.#ring !== undefined) await ports.leases.stopRinging(this.#ring);
        await ports.leases.end(callId, this.epoch);
      });
      for (const cid of Object.values(sides ?? {})) await ports.channels().setState(cid, DEVICE_STATE.ready);
      await persistently(() => ports.store.end(record));
    });
    this.#writing = ending;
    this.#inBackground(ending);
  }

  #recordOf(call: Call): OpenRecord {
    const { appId, startedMs, establishedMs, quality, record } = this.#snapshot;
    return {
      ...{ id: this.callId, tenant: this.tenant, appId, caller: call.caller, callee: sidesOf(call)?.callee, startedMs },
      answeredMs: 'answeredMs' in call ? call.answeredMs : undefined,
      establishedMs: establishedMs ?? undefined,
      ...{ quality, isRecorded: record },
    };
  }

  #change(change: Partial<CallSnapshot>): void {
    this.#snapshot = { ...this.#snapshot, ...change };
  }

  #stored(): CallSnapshot {
    const places = this.#places.map(storedPlace);
    const ring = this.#ring === undefined ? null : storedPlace(this.#ring);
    return this.#call.tag === 'ended' ? this.#snapshot : { ...this.#snapshot, call: this.#call, places, ring };
  }

  #save(): void {
    this.#inBackground(this.#saved());
  }

  #saved(): Promise<void> {
    const saved = this.#writing.then(async () => {
      if (this.#call.tag !== 'ended') await this.ports.leases.save(this.callId, this.epoch, this.#stored());
    });
    // What could not be written now is written with the next renewal.
    this.#writing = saved.catch(() => undefined);
    return saved;
  }

  #inBackground(work: Promise<unknown>): void {
    this.ports.background(
      work.catch((error: unknown) => {
        this.ports.log.warn({ err: error, callId: this.callId }, 'a part of a call could not be carried out');
      }),
    );
  }
}

const SIDES = ['caller', 'callee'] as const;

const storedPlace = ({ cid, epoch }: Place) => ({ cid, epoch: String(epoch) });
const placeIn = ({ cid, epoch }: ReturnType<typeof storedPlace>): Place => ({ cid, epoch: BigInt(epoch) });

const NO_QUALITY: SideQuality = { worstLoss: 0, loss: 0, rttMs: null, bitrateBps: 0, reports: 0 };

const wordsOf = (error: unknown): string =>
  isWeirError(error) ? error.message : 'The media could not be set up; try again later';

/** Redis and PostgreSQL may be away for a moment. */
const persistently = async <Result>(work: () => Promise<Result>): Promise<Result> => {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (attempt === STORE_ATTEMPTS) throw error;
      await sleep(SAVE_AGAIN_MS);
    }
  }
};

const causeOf = (reason: EndReason): 'no-media' | 'silence' | 'media-lost' => {
  switch (reason) {
    case EndReason.ICE_TIMEOUT:
    case EndReason.DTLS_FAILED:
      return 'no-media';
    case EndReason.NO_MEDIA:
      return 'silence';
    case EndReason.UNSPECIFIED:
    case EndReason.CLIENT:
    case EndReason.DISCONNECTED:
    case EndReason.OWNER_LOST:
    case EndReason.TERMINATED:
    case EndReason.ICE_LOST:
    case EndReason.STREAM_ENDED:
    case EndReason.NODE_LOST:
    case EndReason.NODE_SHUTDOWN:
    case EndReason.REPLACED:
    case EndReason.SOURCE_FAILED:
    case EndReason.SOURCE_TIMEOUT:
      return 'media-lost';
    default:
      return reason satisfies never;
  }
};
