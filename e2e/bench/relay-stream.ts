import { writeRtpPacket } from '@weir/frames';

/**
 * The stream that relays carry in the benchmark: about 2 Mbit/s of H.264 at 30 pictures per second, and Opus. Only the
 * parts that servers look at are real. Each packet ends with its number and the time at which it was sent.
 */
export type StreamFeed = Readonly<Record<Medium, FeedAddress>>;

/** The address to which a medium must be sent, and its SSRC. */
export interface FeedAddress {
  readonly ip: string;
  readonly port: number;
  readonly ssrc: number;
}

export const OPUS = { payloadType: 111, clockRate: 48_000, channels: 2 } as const;
export const H264 = { payloadType: 102, clockRate: 90_000, profileLevelId: '42e01f' } as const;

export const PICTURES_PER_S = 30;
const PACKETS_PER_PICTURE = 7;
const SLICE_BYTES = 1_180;
const KEY_PICTURE_INTERVAL = 30;
const SOUNDS_PER_S = 50;
const SOUND_BYTES = 120;

const SPS = Buffer.from('6742c01fd9005005bb0110000003001000000303c0f1832480', 'hex');
const PPS = Buffer.from('68cb83cb20', 'hex');
const NAL = { slice: 0x61, keySlice: 0x65, aggregate: 0x78 };
/** The start of a slice's header (ITU-T H.264, 7.3.3): its first macroblock is 0, and all of the picture is P or I. */
const SLICE_HEADER = { p: 0x9a, i: 0x88 };

/** A clock that all processes of the machine share, in milliseconds. */
export const clockMs = (): number => Number(process.hrtime.bigint()) / 1e6;

export type Medium = 'audio' | 'video';

export interface Stamp {
  readonly medium: Medium;
  /** Counted over all packets of the stream. */
  readonly number: number;
  readonly sentMs: number;
}

const STAMP_BYTES = 13;

const writeStamp = (payload: Buffer, { medium, number, sentMs }: Stamp): void => {
  const at = payload.length - STAMP_BYTES;
  payload.writeUInt8(medium === 'video' ? 1 : 0, at);
  payload.writeUInt32BE(number, at + 1);
  payload.writeDoubleBE(sentMs, at + 5);
};

export const stampOf = (packet: Buffer): Stamp => {
  const at = packet.length - STAMP_BYTES;
  const medium = packet.readUInt8(at) === 1 ? 'video' : 'audio';
  return { medium, number: packet.readUInt32BE(at + 1), sentMs: packet.readDoubleBE(at + 5) };
};

/** Sends the RTP packets that are due. All packets of a picture are due at the same time. */
export class SyntheticStream {
  #number = 0;
  #pictures = 0;
  #sounds = 0;
  readonly #sequenceNumbers = { audio: 0, video: 0 };

  constructor(
    private readonly feed: StreamFeed,
    private readonly startMs: number,
    private readonly send: (packet: Buffer, to: FeedAddress) => void,
  ) {}

  sendDue(nowMs: number): void {
    for (; nowMs >= this.startMs + (this.#pictures * 1_000) / PICTURES_PER_S; this.#pictures += 1) this.#sendPicture();
    for (; nowMs >= this.startMs + (this.#sounds * 1_000) / SOUNDS_PER_S; this.#sounds += 1) {
      const timestamp = (this.#sounds * OPUS.clockRate) / SOUNDS_PER_S;
      this.#sendPacket('audio', timestamp, true, Buffer.alloc(SOUND_BYTES, 0xfc));
    }
  }

  #sendPicture(): void {
    const isKey = this.#pictures % KEY_PICTURE_INTERVAL === 0;
    const timestamp = (this.#pictures * H264.clockRate) / PICTURES_PER_S;
    for (let index = 0; index < PACKETS_PER_PICTURE; index += 1) {
      const slice = Buffer.alloc(SLICE_BYTES, 0xa5);
      slice.writeUInt8(isKey ? NAL.keySlice : NAL.slice, 0);
      slice.writeUInt8(isKey ? SLICE_HEADER.i : SLICE_HEADER.p, 1);
      const payload = isKey && index === 0 ? aggregate(SPS, PPS, slice) : slice;
      this.#sendPacket('video', timestamp, index === PACKETS_PER_PICTURE - 1, payload);
    }
  }

  #sendPacket(medium: Medium, timestamp: number, isLast: boolean, payload: Buffer): void {
    const { payloadType } = medium === 'audio' ? OPUS : H264;
    const { ssrc } = this.feed[medium];
    const sequenceNumber = this.#sequenceNumbers[medium]++;
    writeStamp(payload, { medium, number: this.#number++, sentMs: clockMs() });
    const packet = writeRtpPacket({ payloadType, marker: isLast, sequenceNumber, timestamp, ssrc }, payload);
    this.send(packet, this.feed[medium]);
  }
}

/** RFC 6184's STAP-A. */
function aggregate(...nalUnits: readonly Buffer[]): Buffer {
  const sized = nalUnits.flatMap((unit) => {
    const size = Buffer.alloc(2);
    size.writeUInt16BE(unit.length);
    return [size, unit];
  });
  return Buffer.concat([Buffer.from([NAL.aggregate]), ...sized]);
}
