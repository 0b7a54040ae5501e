import { AacDepacketizer, PacketAudioDepacketizer } from './audio-depacketizer.js';
import { Av1Depacketizer } from './av1-depacketizer.js';
import type { Depacketizer, Frame, FrameCodec } from './frame.js';
import { NalDepacketizer } from './nal-depacketizer.js';
import { type OrderedPacket, ReorderBuffer } from './reorder-buffer.js';
import { isRtcp, RtpPacket } from './rtp-packet.js';
import { Unwrapper } from './unwrapper.js';
import { VpxDepacketizer } from './vpx-depacketizer.js';

export interface FrameAssemblerOptions {
  codec: FrameCodec;
  /** Clock rate of the RTP timestamps, in Hz. */
  clockRate: number;
  /** Used for PCMU and PCMA only. */
  channels?: number;
  /** The codec's fmtp parameters, names in lower case: sprop-parameter-sets, sprop-vps/sps/pps, config, sizelength … */
  parameters?: Readonly<Record<string, unknown>>;
  /** Packets with other payload types are ignored. If it is undefined, all are taken. */
  payloadType?: number;
  /**
   * Packets with other SSRCs are ignored. If it is undefined, the first source is taken, and later any new source that
   * keeps sending.
   */
  ssrc?: number;
  maxReorderPackets?: number;
  /** How long to wait for a missing packet, measured in media time. */
  maxReorderMs?: number;
}

/**
 * Makes whole frames from the RTP packets of one stream. Frames refer to the packets' memory, so a buffer that was
 * pushed must not be written to again. No input makes it throw.
 */
export class FrameAssembler {
  readonly #options: FrameAssemblerOptions;
  readonly #depacketizer: Depacketizer;
  readonly #reorder: ReorderBuffer;
  readonly #timestamps = new Unwrapper(32);
  #ssrc: number | undefined;
  #otherSource: RtpPacket | undefined;
  #lostBefore = false;

  constructor(options: FrameAssemblerOptions) {
    this.#options = options;
    this.#depacketizer = depacketizerOf(options);
    this.#ssrc = options.ssrc;
    const maxTicks = ((options.maxReorderMs ?? 250) * options.clockRate) / 1000;
    this.#reorder = new ReorderBuffer({ maxPackets: options.maxReorderPackets ?? 64, maxTicks });
  }

  /** The SSRC of the source that the frames come from; undefined until it is known. */
  get ssrc(): number | undefined {
    return this.#ssrc;
  }

  /** Takes a packet from a port that RTP and RTCP share. */
  push(bytes: Uint8Array): Frame[] {
    const packet = isRtcp(bytes) ? undefined : RtpPacket.parse(bytes);
    return packet === undefined ? [] : this.pushPacket(packet);
  }

  pushPacket(packet: RtpPacket): Frame[] {
    if (packet.payloadType !== (this.#options.payloadType ?? packet.payloadType)) return [];
    const frames: Frame[] = [];
    if (packet.ssrc === this.#ssrc) this.#order(packet, frames);
    else for (const ours of this.#fromOtherSource(packet, frames)) this.#order(ours, frames);
    return frames;
  }

  /** The stream has ended: returns what was waiting for a missing packet or for the start of the next frame. */
  flush(): Frame[] {
    const frames: Frame[] = [];
    for (const ordered of this.#reorder.flush()) this.#take(ordered, frames);
    frames.push(...this.#depacketizer.flush());
    return frames;
  }

  /** Returns the packets to process: none for a stray packet, two once a new source has shown that it keeps sending. */
  #fromOtherSource(packet: RtpPacket, frames: Frame[]): RtpPacket[] {
    if (this.#ssrc === undefined) {
      this.#ssrc = packet.ssrc;
      return [packet];
    }
    if (this.#options.ssrc !== undefined || packet.payload.length === 0) return [];
    const first = this.#otherSource;
    this.#otherSource = packet;
    const follows = first?.ssrc === packet.ssrc && ((first.sequenceNumber + 1) & 0xffff) === packet.sequenceNumber;
    if (!follows) return [];
    frames.push(...this.flush());
    this.#otherSource = undefined;
    this.#ssrc = packet.ssrc;
    this.#reorder.reset();
    this.#timestamps.reset();
    this.#lostBefore = true;
    return [first, packet];
  }

  #order(packet: RtpPacket, frames: Frame[]): void {
    for (const ordered of this.#reorder.push(packet)) this.#take(ordered, frames);
  }

  #take({ packet, lostBefore, restarted }: OrderedPacket, frames: Frame[]): void {
    if (restarted) {
      frames.push(...this.#depacketizer.flush());
      this.#timestamps.reset();
    }
    this.#lostBefore ||= lostBefore;
    // Bandwidth probes and padding use a sequence number but carry no data.
    if (packet.payload.length === 0) return;
    const timestamp = this.#timestamps.unwrap(packet.timestamp);
    const { payload, marker } = packet;
    const made = this.#depacketizer.push({ payload, marker, timestamp, lostBefore: this.#lostBefore });
    for (const frame of made) frames.push(frame);
    this.#lostBefore = false;
  }
}

export function createFrameAssembler(options: FrameAssemblerOptions): FrameAssembler {
  return new FrameAssembler(options);
}

function depacketizerOf({ codec, clockRate, channels, parameters = {} }: FrameAssemblerOptions): Depacketizer {
  switch (codec) {
    case 'H264':
    case 'H265':
      return new NalDepacketizer(codec, parameters);
    case 'VP8':
    case 'VP9':
      return new VpxDepacketizer(codec);
    case 'AV1':
      return new Av1Depacketizer();
    case 'opus':
    case 'PCMU':
    case 'PCMA':
      return new PacketAudioDepacketizer(codec, channels || 1);
    case 'MPEG4-GENERIC':
      return new AacDepacketizer(parameters, clockRate);
    default:
      return codec satisfies never;
  }
}
