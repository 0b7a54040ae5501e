import { isDeepStrictEqual } from 'node:util';
import type { EndReason } from '@weir/contracts';
import type { Logger } from '@weir/platform';
import { codecName, type SendSection } from '@weir/sdp';
import type { types as mediasoup } from 'mediasoup';
import type { MediaCore } from './core.js';
import type { Stream, StreamListener } from './stream.js';
import type { LentTrack } from './track.js';
import { consume } from './webrtc-transports.js';
import type { RouterLease } from './worker-pool.js';

export interface HeardStreamOptions {
  readonly core: MediaCore;
  readonly tenant: string;
  readonly streamName: string;
  /** The router that the client's transports are on, with the client's payload types. */
  readonly home: RouterLease;
  readonly transportOf: (section: SendSection) => mediasoup.WebRtcTransport | undefined;
  readonly isConnected: () => boolean;
  /** Told once each time that the stream begins. @param reason for people */
  readonly notCarried: (reason: string) => void;
  readonly log: Logger;
}

interface Sending {
  readonly lent: LentTrack;
  readonly consumer: mediasoup.Consumer;
}

/**
 * A stream that goes to a publisher's client on the publisher's own connection. The client's sections were answered before
 * the stream was there, so the stream is sent as soon as it begins, and again when it begins again.
 */
export class HeardStream {
  #sections: readonly SendSection[] = [];
  #stream: Stream | undefined;
  readonly #sendings = new Set<Sending>();
  readonly #viewer: StreamListener = {
    onStreamEnded: (_reason: EndReason) => this.#change(),
    onVideoSize: () => undefined, // the client sees it
    onSignal: () => undefined, // the owner of a call passes them on
  };
  readonly #stopFollowing: () => void;
  /** Changes are made one after the other. */
  #lastChange: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(private readonly options: HeardStreamOptions) {
    const { core, tenant, streamName } = options;
    this.#stopFollowing = core.follow(tenant, [streamName], () => this.#change());
  }

  /** What the client takes, from its first offer and from each later one. */
  setSections(sections: readonly SendSection[]): void {
    if (isDeepStrictEqual(sections, this.#sections)) return;
    this.#stop();
    this.#sections = sections;
    this.#change();
  }

  onConnected(): void {
    for (const { lent } of this.#sendings) lent.start();
  }

  /** The router and the transports are closed after it. */
  close(): void {
    this.#isClosed = true;
    this.#stopFollowing();
    this.#stop();
  }

  #change(): void {
    this.#lastChange = this.#lastChange
      .then(() => this.#follow())
      .catch((error: unknown) => {
        const { log, streamName } = this.options;
        log.warn({ err: error, streamName }, 'a stream could not be sent to the client of another one');
      });
  }

  async #follow(): Promise<void> {
    const { core, tenant, streamName } = this.options;
    const present = core.findLocal(tenant, streamName);
    if (this.#isClosed || (present === this.#stream && present !== undefined)) return;
    this.#stop();
    if (present === undefined) return;
    this.#stream = present;
    present.join(this.#viewer);
    for (const section of this.#sections) await this.#send(present, section);
  }

  async #send(stream: Stream, section: SendSection): Promise<void> {
    const { home, transportOf, isConnected, notCarried } = this.options;
    const track = stream.track(section.kind);
    const transport = transportOf(section);
    if (track === undefined || transport === undefined) return;
    const [sent, taken] = [codecName(track.webRtcCodec), codecName(section)];
    if (sent !== taken) return notCarried(`${section.kind} ${sent}: the client takes ${taken}`);
    const lent = await stream.use(() => track.lend(home));
    try {
      const consumer = await consume(transport, lent.producerId, section);
      if (this.#isClosed || this.#stream !== stream) {
        consumer.close();
        lent.release();
        return;
      }
      this.#sendings.add({ lent, consumer });
    } catch (error) {
      lent.release();
      throw error;
    }
    if (isConnected()) lent.start();
  }

  #stop(): void {
    this.#stream?.leave(this.#viewer);
    this.#stream = undefined;
    for (const { consumer, lent } of this.#sendings) {
      consumer.close();
      lent.release();
    }
    this.#sendings.clear();
  }
}
