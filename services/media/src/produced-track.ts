import type { StreamCodec } from '@weir/media-core';
import type { types as mediasoup } from 'mediasoup';
import { PipedProducer } from './piped-producer.js';
import type { LentTrack, PacketListener, SentTrack, Track, TrackDescription, UdpAddress } from './track.js';
import type { MediaWorker, RouterLease } from './worker-pool.js';

/** A track that a mediasoup producer receives: a WebRTC publisher's, or one fed by RTP. */
export class ProducedTrack implements Track {
  readonly description: TrackDescription;
  private readonly piped: PipedProducer;
  private readonly listeners = new Set<PacketListener>();
  private tap: Promise<{ transport: mediasoup.DirectTransport; consumer: mediasoup.Consumer }> | undefined;
  private closed = false;

  constructor(
    readonly webRtcCodec: StreamCodec,
    readonly producer: mediasoup.Producer,
    private readonly home: RouterLease,
  ) {
    this.piped = new PipedProducer(producer, home);
    this.description = {
      kind: producer.kind,
      codec: webRtcCodec.mimeType.split('/')[1] ?? '',
      clockRate: webRtcCodec.clockRate,
      channels: producer.kind === 'audio' ? (webRtcCodec.channels ?? 1) : 0,
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

  lend(to: RouterLease): Promise<LentTrack> {
    return this.piped.lend(to);
  }

  async sendTo({ ip, port }: UdpAddress): Promise<SentTrack> {
    const { router } = this.home;
    const transport = await router.createPlainTransport({
      listenInfo: { protocol: 'udp', ip: sourceAddressFor(ip) },
      rtcpMux: true,
      comedia: false,
    });
    try {
      await transport.connect({ ip, port });
      const consumer = await transport.consume({
        producerId: this.producer.id,
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
    this.producer.close();
  }

  private async openTap() {
    const { router } = this.home;
    const transport = await router.createDirectTransport();
    transport.on('rtcp', (packet) => {
      for (const listener of this.listeners) listener.onRtcp?.(packet);
    });
    const consumer = await transport.consume({
      producerId: this.producer.id,
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
