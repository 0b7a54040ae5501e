import { ErrorCode, WeirError } from '@weir/contracts';
import type { StreamCodec } from '@weir/media-core';
import type { types as mediasoup } from 'mediasoup';
import { setTimeout as sleep } from 'node:timers/promises';
import { PipedProducer } from './piped-producer.js';
import type { LentTrack, PacketListener, SentTrack, Track, TrackDescription, UdpAddress } from './track.js';
import type { MediaWorker, RouterLease } from './worker-pool.js';

/** How long somebody who wants a track waits for the first packets of one that has no producer before. */
const FIRST_PACKETS_TIMEOUT_MS = 3_000;

/** A track that a mediasoup producer receives: a WebRTC publisher's, or one fed by RTP. */
export class ProducedTrack implements Track {
  readonly description: TrackDescription;
  /** Undefined until the first packets where their SSRC has to be learned from them. */
  producer: mediasoup.Producer | undefined;
  private readonly producing: Promise<mediasoup.Producer>;
  private readonly piped: PipedProducer;
  private readonly listeners = new Set<PacketListener>();
  private tap: Promise<{ transport: mediasoup.DirectTransport; consumer: mediasoup.Consumer }> | undefined;
  private closed = false;

  constructor(
    readonly webRtcCodec: StreamCodec,
    producer: mediasoup.Producer | Promise<mediasoup.Producer>,
    private readonly home: RouterLease,
  ) {
    if (!(producer instanceof Promise)) this.producer = producer;
    this.producing = Promise.resolve(producer).then((made) => {
      if (this.closed) made.close();
      return (this.producer = made);
    });
    this.producing.catch(() => undefined); // whoever wants the track meets the error
    this.piped = new PipedProducer(() => this.whenProduced(), home);
    this.description = {
      kind: webRtcCodec.kind,
      codec: webRtcCodec.mimeType.split('/')[1] ?? '',
      clockRate: webRtcCodec.clockRate,
      channels: webRtcCodec.kind === 'audio' ? (webRtcCodec.channels ?? 1) : 0,
      parameters: Object.fromEntries(
        Object.entries(webRtcCodec.parameters).map(([name, value]) => [name, String(value)]),
      ),
    };
  }

  get homeWorker(): MediaWorker {
    return this.home.worker;
  }

  get pipeCount(): number {
    return this.piped.pipeCount;
  }

  /** Packets come through a direct transport, some 200 a second for 2 Mbit/s of video; it is made for the first who listens. */
  async listen(listener: PacketListener): Promise<() => void> {
    this.listeners.add(listener);
    this.tap ??= this.openTap();
    await this.tap;
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size === 0) this.closeTap();
    };
  }

  requestKeyFrame(): void {
    this.tap?.then(({ consumer }) => consumer.requestKeyFrame()).catch(() => undefined); // the track has been closed meanwhile
  }

  private async whenProduced(): Promise<mediasoup.Producer> {
    if (this.producer !== undefined) return this.producer;
    const abort = new AbortController();
    const late = sleep(FIRST_PACKETS_TIMEOUT_MS, undefined, { signal: abort.signal }).then(() => {
      throw new WeirError(ErrorCode.UNAVAILABLE, `no packet of the stream's ${this.description.kind} has come yet`);
    });
    try {
      return await Promise.race([this.producing, late]);
    } finally {
      late.catch(() => undefined); // aborted
      abort.abort();
    }
  }

  lend(to: RouterLease): Promise<LentTrack> {
    return this.piped.lend(to);
  }

  async sendTo({ ip, port }: UdpAddress): Promise<SentTrack> {
    const { router } = this.home;
    const { id: producerId } = await this.whenProduced();
    const transport = await router.createPlainTransport({
      listenInfo: { protocol: 'udp', ip: sourceAddressFor(ip) },
      rtcpMux: true,
      comedia: false,
    });
    try {
      await transport.connect({ ip, port });
      const consumer = await transport.consume({
        producerId,
        rtpCapabilities: withoutRetransmission(router.rtpCapabilities),
        enableRtx: false,
      });
      return {
        payloadType: consumer.rtpParameters.codecs[0]?.payloadType ?? 0,
        ssrc: consumer.rtpParameters.encodings?.[0]?.ssrc ?? 0,
        caughtUp: Promise.resolve(),
        close: () => transport.close(),
      };
    } catch (error) {
      transport.close();
      throw error;
    }
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.listeners.clear();
    this.closeTap();
    this.producer?.close();
  }

  private async openTap() {
    const { router } = this.home;
    // Who watches or packages a stream wants it however late it comes.
    const { id: producerId } = await this.producing;
    const transport = await router.createDirectTransport();
    transport.on('rtcp', (packet) => {
      for (const listener of this.listeners) listener.onRtcp?.(packet);
    });
    const consumer = await transport.consume({
      producerId,
      rtpCapabilities: withoutRetransmission(router.rtpCapabilities),
    });
    consumer.on('rtp', (packet) => {
      for (const listener of this.listeners) listener.onRtp(packet);
    });
    return { transport, consumer };
  }

  private closeTap(): void {
    const { tap } = this;
    this.tap = undefined;
    tap?.then(
      ({ transport }) => transport.close(),
      () => undefined, // who listened has met the error
    );
  }
}

/** Loopback is reached from loopback, everything else from any address. */
const sourceAddressFor = (ip: string) => (ip.startsWith('127.') || ip === '::1' ? ip : '0.0.0.0');

/** Between processes of one platform nothing is lost that retransmission could bring back. */
const withoutRetransmission = (capabilities: mediasoup.RtpCapabilities): mediasoup.RtpCapabilities => ({
  codecs: capabilities.codecs?.filter(({ mimeType }) => !mimeType.toLowerCase().endsWith('/rtx')),
  headerExtensions: [],
});
