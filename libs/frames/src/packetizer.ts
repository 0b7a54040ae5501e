import type { Buffer } from 'node:buffer';

import type { AudioFrame, NalFrame } from './frame.js';
import { writeRtpPacket } from './rtp-packet.js';

export interface PacketizerOptions {
  payloadType: number;
  ssrc: number;
  /** Sequence number of the first packet. RFC 3550 wants it random, so the caller chooses it. */
  sequenceNumber: number;
  /** Added to the frames' timestamps. */
  timestampOffset?: number;
  /** Size of the largest RTP packet in bytes, including the header. */
  maxPacketBytes?: number;
}

const RTP_HEADER_BYTES = 12;
const DEFAULT_MAX_PACKET_BYTES = 1_200;

/**
 * RFC 6184, packetization-mode 1: parameter sets go in a STAP-A before key frames, small NAL units are sent alone, and
 * others in FU-A.
 */
export class H264Packetizer {
  readonly #options: PacketizerOptions;
  readonly #maxPayloadBytes: number;
  #sequenceNumber: number;

  constructor(options: PacketizerOptions) {
    this.#options = options;
    this.#maxPayloadBytes = (options.maxPacketBytes ?? DEFAULT_MAX_PACKET_BYTES) - RTP_HEADER_BYTES;
    this.#sequenceNumber = options.sequenceNumber;
  }

  packetize(frame: Pick<NalFrame, 'nalUnits' | 'rtpTimestamp' | 'isKeyFrame' | 'parameterSets'>): Buffer[] {
    const payloads: Uint8Array[][] = [];
    if (frame.isKeyFrame && frame.parameterSets !== undefined) {
      const sets = [...frame.parameterSets.sps, ...frame.parameterSets.pps];
      const bytes = sets.reduce((sum, set) => sum + 2 + set.length, 1);
      if (bytes <= this.#maxPayloadBytes) payloads.push(aggregate(sets));
      else for (const set of sets) this.#split(set, payloads);
    }
    for (const nalUnit of frame.nalUnits) this.#split(nalUnit, payloads);
    const timestamp = frame.rtpTimestamp + (this.#options.timestampOffset ?? 0);
    return payloads.map((payload, index) =>
      writeRtpPacket(
        { ...this.#options, marker: index === payloads.length - 1, sequenceNumber: this.#sequenceNumber++, timestamp },
        ...payload,
      ),
    );
  }

  #split(nalUnit: Uint8Array, payloads: Uint8Array[][]): void {
    if (nalUnit.length === 0) return;
    if (nalUnit.length <= this.#maxPayloadBytes) {
      payloads.push([nalUnit]);
      return;
    }
    const header = nalUnit[0]!;
    const step = this.#maxPayloadBytes - 2;
    for (let offset = 1; offset < nalUnit.length; offset += step) {
      const position = (offset === 1 ? 0x80 : 0) | (offset + step >= nalUnit.length ? 0x40 : 0);
      const fragmentHeader = Uint8Array.of((header & 0xe0) | 28, position | (header & 0x1f));
      payloads.push([fragmentHeader, nalUnit.subarray(offset, offset + step)]);
    }
  }
}

function aggregate(nalUnits: readonly Uint8Array[]): Uint8Array[] {
  const importance = Math.max(...nalUnits.map((nalUnit) => nalUnit[0]! & 0x60));
  const parts: Uint8Array[] = [Uint8Array.of(importance | 24)];
  for (const nalUnit of nalUnits) parts.push(Uint8Array.of(nalUnit.length >> 8, nalUnit.length & 0xff), nalUnit);
  return parts;
}

/** RFC 7587 and RFC 3551: each Opus or G.711 frame is one packet. */
export class AudioPacketizer {
  readonly #options: PacketizerOptions;
  #sequenceNumber: number;

  constructor(options: PacketizerOptions) {
    this.#options = options;
    this.#sequenceNumber = options.sequenceNumber;
  }

  packetize(frame: Pick<AudioFrame, 'data' | 'rtpTimestamp'>): Buffer[] {
    const timestamp = frame.rtpTimestamp + (this.#options.timestampOffset ?? 0);
    const header = { ...this.#options, marker: false, sequenceNumber: this.#sequenceNumber++, timestamp };
    return [writeRtpPacket(header, frame.data)];
  }
}
