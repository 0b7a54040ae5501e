import { randomUUID } from 'node:crypto';
// eslint-disable-next-line @nx/enforce-module-boundaries -- streams are fed and tapped as the platform's services do it
import { Bus } from '@weir/bus';
// eslint-disable-next-line @nx/enforce-module-boundaries -- streams are fed and tapped as the platform's services do it
import { InstanceEvents, Media, MediaKind, MediaRtp, type StreamInfo } from '@weir/contracts';
import { waitFor } from '@weir/testing';
import { z } from 'zod';
import { mediaProcesses, type BenchPlatform } from './platform.js';
import { cpuMs, type CpuClocks } from './process-usage.js';
import type { Carrier, Chain } from './relay-carrier.js';
import { H264, OPUS, type StreamFeed } from './relay-stream.js';
import { sum } from './samples.js';

const TENANT = 'demo';
const ALIVE_INTERVAL_MS = 1_000;
const RELAY_TIMEOUT_MS = 60_000;

const relayList = z.array(
  z.object({ localStreamName: z.string(), remoteStreamName: z.string(), status: z.string(), reason: z.string() }),
);

type Direction = 'push' | 'pull';

/** Feeds and taps streams over the bus, as if it were a service of the platform. */
export class WeirRelays {
  readonly #alive: NodeJS.Timeout;

  private constructor(
    private readonly platform: BenchPlatform,
    readonly bus: Bus,
    private readonly clocks: CpuClocks,
  ) {
    const { instanceId } = bus;
    this.#alive = setInterval(
      () => bus.publish(InstanceEvents.method.alive, { service: 'bench', instanceId }),
      ALIVE_INTERVAL_MS,
    );
  }

  static async connect(platform: BenchPlatform): Promise<WeirRelays> {
    const relayPush = await platform.pidOf('relay-push');
    const { control, workers } = await mediaProcesses(platform);
    const { media, ...others } = control;
    const instanceId = `bench-${randomUUID()}`;
    const bus = await Bus.connect({ url: platform.natsUrl, service: 'bench', instanceId });
    return new WeirRelays(platform, bus, {
      'relay-push': () => cpuMs(relayPush),
      'media workers': () => sum(workers.map(cpuMs)),
      'media (Node)': () => media?.() ?? NaN,
      others: () => sum(Object.values(others).map((clock) => clock())),
    });
  }

  /** The platform relays to itself; the stream names tell the hops apart. */
  carrier(direction: Direction): Carrier {
    return {
      name: `weir, ${direction}`,
      open: (streamCount) => WeirChain.open(this, direction, streamCount),
    };
  }

  get cpuClocks(): CpuClocks {
    return this.clocks;
  }

  async relay(direction: Direction, from: string, to: string): Promise<void> {
    const [localStreamName, remoteStreamName] = direction === 'push' ? [from, to] : [to, from];
    const uri = this.platform.httpUrl.replace('http:', 'ws:');
    await this.#rest(direction, { uri, localStreamName, remoteStreamName });
    const awaited = direction === 'push' ? 'PUBLISHING' : 'PLAYING';
    await waitFor(
      async () => {
        const found = (await this.#list()).find((each) => each.localStreamName === localStreamName);
        if (found?.status === awaited) return true;
        throw new Error(`it is ${found?.status ?? 'not in the list'}: ${found?.reason ?? ''}`);
      },
      { timeoutMs: RELAY_TIMEOUT_MS, intervalMs: 50, what: `the relay from ${from} to ${to}` },
    );
  }

  /** Ends every relay with one of these local or remote names, and waits until they are gone. */
  async terminate(names: readonly string[]): Promise<void> {
    const isOurs = (relay: z.output<typeof relayList>[number]) =>
      names.includes(relay.localStreamName) || names.includes(relay.remoteStreamName);
    for (const { localStreamName, remoteStreamName } of (await this.#list()).filter(isOurs))
      await this.#rest('terminate', { localStreamName, remoteStreamName }, [200, 404]);
    await waitFor(async () => !(await this.#list()).some(isOurs), { timeoutMs: RELAY_TIMEOUT_MS, what: 'no relay' });
  }

  async find(streamName: string): Promise<StreamInfo> {
    return waitFor(
      async () => {
        const { streams } = await this.bus.call(Media.method.findStreams, { tenant: TENANT, streamName });
        return streams.find((stream) => stream.streamName === streamName);
      },
      { timeoutMs: RELAY_TIMEOUT_MS, what: `stream ${streamName}` },
    );
  }

  async close(): Promise<void> {
    clearInterval(this.#alive);
    await this.bus.drain();
  }

  async #list(): Promise<z.output<typeof relayList>> {
    const { status, text } = await this.#rest('find_all', {}, [200, 404]);
    return status === 404 ? [] : relayList.parse(JSON.parse(text));
  }

  async #rest(method: string, body: object, expected: readonly number[] = [200]) {
    const response = await fetch(`${this.platform.httpUrl}/rest-api/pull/${method}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${this.platform.operatorKey}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    const text = await response.text();
    if (!expected.includes(response.status)) throw new Error(`${method} was answered with ${response.status}: ${text}`);
    return { status: response.status, text };
  }
}

interface Session {
  readonly sessionId: string;
  readonly nodeId: string;
}

class WeirChain implements Chain {
  readonly feeds: StreamFeed[] = [];
  readonly clocks: CpuClocks;
  readonly #sessions: Session[] = [];
  readonly #hops: number[] = [];
  readonly #prefix = `bench-${randomUUID().slice(0, 8)}`;

  private constructor(
    private readonly relays: WeirRelays,
    private readonly direction: Direction,
  ) {
    this.clocks = relays.cpuClocks;
  }

  static async open(relays: WeirRelays, direction: Direction, streamCount: number): Promise<WeirChain> {
    const chain = new WeirChain(relays, direction);
    for (let index = 0; index < streamCount; index += 1) await chain.#feed(index);
    return chain;
  }

  async carry(count: number): Promise<void> {
    for (const [index, hops] of [...this.#hops.entries()].slice(0, count)) {
      await this.relays.relay(this.direction, this.#nameOf(index, hops), this.#nameOf(index, hops + 1));
      this.#hops[index] = hops + 1;
    }
  }

  async tap(index: number, hops: number, to: { ip: string; port: number }): Promise<void> {
    const streamName = this.#nameOf(index, hops);
    const { nodeId } = await this.relays.find(streamName);
    const sessionId = randomUUID();
    const ownerId = this.relays.bus.instanceId;
    const where = { nodeId, tenant: TENANT, streamName };
    await this.relays.bus.call(MediaRtp.method.tap, { ...where, sessionId, ownerId, audio: to, video: to });
    this.#sessions.push({ sessionId, nodeId });
  }

  async close(): Promise<void> {
    const furthest = Math.max(0, ...this.#hops);
    const names = this.#hops.flatMap((_, index) =>
      Array.from({ length: furthest + 1 }, (_none, hops) => this.#nameOf(index, hops)),
    );
    await this.relays.terminate(names);
    for (const session of this.#sessions.splice(0).toReversed())
      await this.relays.bus.call(Media.method.closeSession, session);
  }

  #nameOf(index: number, hops: number): string {
    return `${this.#prefix}-${index}-${hops}`;
  }

  async #feed(index: number): Promise<void> {
    const sessionId = randomUUID();
    const ssrcs = { audio: 10_000 + index, video: 20_000 + index };
    const { nodeId, rtpAddresses } = await this.relays.bus.call(MediaRtp.method.ingest, {
      ...{ tenant: TENANT, streamName: this.#nameOf(index, 0), sessionId, ownerId: this.relays.bus.instanceId },
      source: {
        case: 'rtpFeed',
        value: {
          tracks: [
            {
              ...{ payloadType: OPUS.payloadType, ssrc: ssrcs.audio },
              track: { kind: MediaKind.AUDIO, codec: 'opus', clockRate: OPUS.clockRate, channels: OPUS.channels },
            },
            {
              ...{ payloadType: H264.payloadType, ssrc: ssrcs.video },
              track: {
                ...{ kind: MediaKind.VIDEO, codec: 'H264', clockRate: H264.clockRate },
                parameters: { 'packetization-mode': '1', 'profile-level-id': H264.profileLevelId },
              },
            },
          ],
        },
      },
    });
    const [audio, video] = rtpAddresses;
    if (audio === undefined || video === undefined) throw new Error('a feed has no address');
    this.#sessions.push({ sessionId, nodeId });
    this.#hops.push(0);
    this.feeds.push({
      audio: { ip: audio.ip, port: audio.port, ssrc: ssrcs.audio },
      video: { ip: video.ip, port: video.port, ssrc: ssrcs.video },
    });
  }
}
