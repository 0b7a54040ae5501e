import { ErrorCode, WeirError } from '@weir/contracts';
import { PictureOrder, RtpPacket, type TrackDescription } from '@weir/frames';
import type { StreamCodec } from '@weir/sdp';
import { within } from '@weir/timing';
import type { types as mediasoup } from 'mediasoup';
import { PipedProducer } from './piped-producer.js';
import { sendProducer, withoutRetransmission } from './sent-producer.js';
import { Shared } from './shared-value.js';
import {
  descriptionOf,
  TRANSCODED,
  type LentTrack,
  type PacketListener,
  type SentTrack,
  type Track,
  type Transcoding,
  type UdpAddress,
} from './track.js';
import type { MediaWorker, RouterLease } from './worker-pool.js';

/** A track's producer may need the track's first packets. A receiver waits this long for them. */
const FIRST_PACKETS_TIMEOUT_MS = 3_000;

interface PacketTap {
  transport: mediasoup.DirectTransport;
  consumer: mediasoup.Consumer;
}

/** A track that a mediasoup producer receives, from a WebRTC publisher or as RTP from another service. */
export class ProducedTrack implements Track {
  readonly description: TrackDescription;
  /** Undefined before the first packets, when only they tell the SSRC. */
  producer: mediasoup.Producer | undefined;
  readonly #producing: Promise<mediasoup.Producer>;
  readonly #piped: PipedProducer;
  readonly #listeners = new Set<PacketListener>();
  #tap: Shared<PacketTap> | undefined;
  readonly #order: PictureOrder | undefined;
  #tapPayloadType = 0;
  #closed = false;

  constructor(
    private readonly ownCodec: StreamCodec,
    producer: mediasoup.Producer | Promise<mediasoup.Producer>,
    private readonly home: RouterLease,
    private readonly transcoding: Transcoding,
  ) {
    if (!(producer instanceof Promise)) this.producer = producer;
    this.#producing = Promise.resolve(producer).then((made) => {
      if (this.#closed) made.close();
      return (this.producer = made);
    });
    this.#producing.catch(() => undefined); // each user of the track gets the error
    this.#piped = new PipedProducer(() => this.#whenProduced(), home);
    this.description = descriptionOf(ownCodec);
    if (this.description.codec === 'H264') this.#order = new PictureOrder();
  }

  get webRtcCodec(): StreamCodec {
    return this.needsTranscoding ? TRANSCODED[this.description.kind] : this.ownCodec;
  }

  get needsTranscoding(): boolean {
    return this.#order?.isReordered ?? false;
  }

  get isKnown(): boolean {
    return this.#order?.isKnown ?? true;
  }

  get payloadType(): number {
    return this.#tapPayloadType;
  }

  get homeWorker(): MediaWorker {
    return this.home.worker;
  }

  get pipeCount(): number {
    return this.#piped.pipeCount;
  }

  /** Packets come through a direct transport, about 200 a second for 2 Mbit/s of video. The first listener opens it. */
  async listen(listener: PacketListener): Promise<() => void> {
    this.#listeners.add(listener);
    try {
      this.#tap ??= new Shared(this.#openTap(), {
        close: ({ transport }) => transport.close(),
        onOver: () => {
          this.#tap = undefined;
        },
      });
      const { release } = await this.#tap.use();
      return () => {
        this.#listeners.delete(listener);
        release();
      };
    } catch (error) {
      this.#listeners.delete(listener);
      throw error;
    }
  }

  requestKeyFrame(): void {
    this.#tap?.value.then(({ consumer }) => consumer.requestKeyFrame()).catch(() => undefined); // closed meanwhile
  }

  async #whenProduced(): Promise<mediasoup.Producer> {
    if (this.producer !== undefined) return this.producer;
    return within(FIRST_PACKETS_TIMEOUT_MS, this.#producing, () => {
      throw new WeirError(ErrorCode.UNAVAILABLE, `no packet of the stream's ${this.description.kind} has come yet`);
    });
  }

  /** The listener gets sender reports only, because no other events are traced. */
  onSenderReport(listener: () => void): void {
    this.#producing
      .then((producer) => {
        producer.on('trace', listener);
        return producer.enableTraceEvent(['sr']);
      })
      .catch(() => undefined); // closed meanwhile
  }

  lend(to: RouterLease): Promise<LentTrack> {
    return this.needsTranscoding ? this.transcoding.lend(this, to) : this.#piped.lend(to);
  }

  async sendTo(address: UdpAddress): Promise<SentTrack> {
    const { id } = await this.#whenProduced();
    return sendProducer(this.home.router, id, address);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#listeners.clear();
    this.#tap?.end();
    this.producer?.close();
  }

  async #openTap(): Promise<PacketTap> {
    const { router } = this.home;
    // A tap wants every packet of the track, so it waits for the producer without a limit.
    const { id: producerId } = await this.#producing;
    const transport = await router.createDirectTransport();
    transport.on('rtcp', (packet) => {
      for (const listener of this.#listeners) listener.onRtcp?.(packet);
    });
    const consumer = await transport.consume({
      producerId,
      rtpCapabilities: withoutRetransmission(router.rtpCapabilities),
    });
    this.#tapPayloadType = consumer.rtpParameters.codecs[0]?.payloadType ?? 0;
    consumer.on('rtp', (bytes) => {
      const packet = RtpPacket.parse(bytes);
      if (packet === undefined) return;
      this.#order?.push(packet);
      for (const listener of this.#listeners) listener.onRtp(packet);
    });
    return { transport, consumer };
  }
}
