import { randomInt } from 'node:crypto';
import { ContinuedNumbering, RtpPacket } from '@weir/frames';
import type { SendSection } from '@weir/sdp';
import type { types as mediasoup } from 'mediasoup';
import { withoutRetransmission } from './sent-producer.js';
import { producerOptionsOf } from './track.js';
import { consume } from './webrtc-transports.js';
import type { RouterLease } from './worker-pool.js';

const MAX_SSRC = 2 ** 32 - 1;

/**
 * How those who watch a publisher talk to its client, on the client's own connection. Of several who talk, the first is
 * heard. The client's section is answered before anybody talks, and Chromium drops sound whose SSRC it doesn't know when it
 * gets no picture beside it. So there is one SSRC for all who will talk, and the answer tells it. Their sound is no stream:
 * nobody else can play it.
 */
export class TalkBack {
  readonly #numbering: ContinuedNumbering;
  /** In the order in which they came. */
  readonly #talkers = new Set<mediasoup.Consumer>();
  #heard: mediasoup.Consumer | undefined;

  /** @param entrance where the sound goes into the client's router */
  private constructor(
    private readonly entrance: mediasoup.DirectTransport,
    private readonly sound: mediasoup.Producer,
    /** Of the packets that the client gets. */
    readonly ssrc: number,
    numbers: { readonly payloadType: number; readonly ssrc: number; readonly clockRate: number },
  ) {
    this.#numbering = new ContinuedNumbering(numbers.clockRate, numbers);
  }

  /** @param section in which the client gets the sound; its codec is one of the router's */
  static async open(
    { router }: RouterLease,
    transport: mediasoup.WebRtcTransport,
    section: SendSection,
  ): Promise<TalkBack> {
    const { routerCodec } = section;
    const { preferredPayloadType: payloadType, clockRate } = routerCodec;
    const ssrc = randomInt(1, MAX_SSRC);
    const entrance = await router.createDirectTransport();
    try {
      const sound = await entrance.produce(producerOptionsOf(routerCodec, { payloadType, ssrc, cname: 'talk-back' }));
      const { rtpParameters } = await consume(transport, sound.id, section);
      const [encoding] = rtpParameters.encodings ?? [];
      if (encoding?.ssrc === undefined) throw new Error('mediasoup gave a consumer no SSRC');
      return new TalkBack(entrance, sound, encoding.ssrc, { payloadType, ssrc, clockRate });
    } catch (error) {
      entrance.close();
      throw error;
    }
  }

  /**
   * Takes what a producer on this router receives, as Opus.
   * @returns whether it is heard at once, and how it ends
   */
  async add(router: mediasoup.Router, producer: mediasoup.Producer): Promise<{ isHeard: boolean; end: () => void }> {
    const exit = await router.createDirectTransport();
    try {
      const talker = await exit.consume({
        producerId: producer.id,
        rtpCapabilities: withoutRetransmission(router.rtpCapabilities),
      });
      this.#talkers.add(talker);
      talker.on('rtp', (bytes) => this.#take(talker, bytes));
      const end = () => {
        this.#talkers.delete(talker);
        exit.close();
      };
      talker.observer.once('close', end);
      return { isHeard: this.#first === talker, end };
    } catch (error) {
      exit.close();
      throw error;
    }
  }

  close(): void {
    for (const talker of [...this.#talkers]) talker.close();
    this.entrance.close();
  }

  get #first(): mediasoup.Consumer | undefined {
    const [first] = this.#talkers;
    return first;
  }

  #take(talker: mediasoup.Consumer, bytes: Uint8Array): void {
    const packet = this.#first === talker && !this.sound.closed ? RtpPacket.parse(bytes) : undefined;
    if (packet === undefined) return;
    if (this.#heard !== talker) this.#numbering.restart();
    this.#heard = talker;
    this.sound.send(Buffer.from(this.#numbering.packet(packet, performance.now()).bytes));
  }
}
