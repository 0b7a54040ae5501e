import { createWorker, types as mediasoup } from 'mediasoup';
import type { Carrier, Chain } from './relay-carrier.js';
import { cpuMs } from './process-usage.js';
import { H264, OPUS, type StreamFeed } from './relay-stream.js';
import { sum } from './samples.js';

const CODECS: mediasoup.RouterRtpCodecCapability[] = [
  {
    kind: 'audio',
    mimeType: 'audio/opus',
    clockRate: OPUS.clockRate,
    channels: OPUS.channels,
    preferredPayloadType: OPUS.payloadType,
  },
  {
    kind: 'video',
    mimeType: 'video/H264',
    clockRate: H264.clockRate,
    preferredPayloadType: H264.payloadType,
    parameters: { 'packetization-mode': 1, 'level-asymmetry-allowed': 1, 'profile-level-id': H264.profileLevelId },
  },
];
const MAX_HOPS = 2;

interface PipedStream {
  readonly producers: readonly mediasoup.Producer[];
  hops: number;
}

/** mediasoup's own way from one worker to another: pipe transports, without JavaScript for each packet. */
export const pipe = ({ srtp }: { srtp: boolean }): Carrier => ({
  name: srtp ? 'mediasoup pipe, SRTP' : 'mediasoup pipe',
  open: (streamCount) => PipeChain.open(streamCount, srtp),
});

class PipeChain implements Chain {
  readonly feeds: StreamFeed[] = [];
  readonly clocks = {
    'relay-push': () => 0,
    'media workers': () => sum(this.workers.map(({ pid }) => cpuMs(pid))),
    'media (Node)': () => 0,
    others: () => 0,
  };
  readonly #streams: PipedStream[] = [];

  private constructor(
    private readonly workers: readonly mediasoup.Worker[],
    /** Connected one after the other, each on a separate worker, like nodes. */
    private readonly routers: readonly mediasoup.Router[],
    private readonly srtp: boolean,
  ) {}

  static async open(streamCount: number, srtp: boolean): Promise<PipeChain> {
    const workers: mediasoup.Worker[] = [];
    const routers: mediasoup.Router[] = [];
    for (let hops = 0; hops <= MAX_HOPS; hops += 1) {
      const worker = await createWorker({ logLevel: 'warn' });
      workers.push(worker);
      routers.push(await worker.createRouter({ mediaCodecs: CODECS }));
    }
    const chain = new PipeChain(workers, routers, srtp);
    for (let index = 0; index < streamCount; index += 1) await chain.#produce(index);
    return chain;
  }

  async carry(count: number): Promise<void> {
    for (const stream of this.#streams.slice(0, count)) {
      const from = this.#router(stream.hops);
      const router = this.#router(stream.hops + 1);
      for (const { id } of stream.producers)
        await from.pipeToRouter({ producerId: id, router, enableSrtp: this.srtp, enableSctp: false });
      stream.hops += 1;
    }
  }

  async tap(index: number, hops: number, to: { ip: string; port: number }): Promise<void> {
    const router = this.#router(hops);
    for (const { id } of this.#streams[index]?.producers ?? []) {
      const transport = await router.createPlainTransport({ listenInfo: { protocol: 'udp', ip: '127.0.0.1' } });
      await transport.connect(to);
      await transport.consume({ producerId: id, rtpCapabilities: router.rtpCapabilities });
    }
  }

  async close(): Promise<void> {
    await Promise.all(
      this.workers.map(async (worker) => {
        const ended = new Promise<void>((resolve) => void worker.once('subprocessclose', () => resolve()));
        worker.close();
        await ended;
      }),
    );
  }

  #router(hops: number): mediasoup.Router {
    const router = this.routers[hops];
    if (router === undefined) throw new RangeError(`there are ${MAX_HOPS} hops`);
    return router;
  }

  async #produce(index: number): Promise<void> {
    const made = { audio: await this.#feed('audio', index), video: await this.#feed('video', index) };
    this.#streams.push({ producers: [made.audio.producer, made.video.producer], hops: 0 });
    this.feeds.push({ audio: made.audio.address, video: made.video.address });
  }

  async #feed(kind: 'audio' | 'video', index: number) {
    const transport = await this.#router(0).createPlainTransport({
      listenInfo: { protocol: 'udp', ip: '127.0.0.1' },
      rtcpMux: true,
      comedia: true,
    });
    const ssrc = (kind === 'audio' ? 10_000 : 20_000) + index;
    const codec = kind === 'audio' ? OPUS : H264;
    const producer = await transport.produce({
      kind,
      rtpParameters: {
        codecs: CODECS.filter((each) => each.kind === kind).map(({ mimeType, clockRate, channels, parameters }) => ({
          ...{ mimeType, clockRate, payloadType: codec.payloadType },
          ...(channels === undefined ? {} : { channels }),
          ...(parameters === undefined ? {} : { parameters }),
        })),
        encodings: [{ ssrc }],
      },
    });
    return { producer, address: { ip: '127.0.0.1', port: transport.tuple.localPort, ssrc } };
  }
}
