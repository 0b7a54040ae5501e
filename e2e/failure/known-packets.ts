import { randomInt } from 'node:crypto';
import { H264Packetizer, writeRtpPacket } from '@weir/frames';
import type { KnownFrame, KnownTrack } from './known-media.js';

const MAX_PAYLOAD_BYTES = 1_100;
const AU_HEADER_BITS = 16;

/** Makes RTP packets of a track's frames. */
export class KnownPackets {
  readonly ssrc = randomInt(1, 2 ** 31);
  #sequenceNumber = randomInt(0, 2 ** 15);
  readonly #h264: H264Packetizer;

  constructor(
    private readonly track: KnownTrack,
    readonly payloadType: number,
  ) {
    this.#h264 = new H264Packetizer({ payloadType, ssrc: this.ssrc, sequenceNumber: this.#sequenceNumber });
  }

  of({ chunks, isKeyFrame }: KnownFrame, rtpTimestamp: number): Buffer[] {
    const { codec, parameterSets } = this.track;
    switch (codec) {
      case 'H264': {
        const [sps, pps] = parameterSets;
        const sets = { vps: [], sps: sps ? [sps] : [], pps: pps ? [pps] : [] };
        return this.#h264.packetize({ nalUnits: [...chunks], isKeyFrame, rtpTimestamp, parameterSets: sets });
      }
      case 'VP8': {
        const [frame = new Uint8Array()] = chunks;
        const starts = Array.from(
          { length: Math.ceil(frame.length / MAX_PAYLOAD_BYTES) },
          (_, i) => i * MAX_PAYLOAD_BYTES,
        );
        // RFC 7741 §4.2: one byte, whose bit S marks the first packet of the frame.
        return starts.map((start, index) =>
          this.#packet(rtpTimestamp, index === starts.length - 1, [
            Uint8Array.of(index === 0 ? 0x10 : 0),
            frame.subarray(start, start + MAX_PAYLOAD_BYTES),
          ]),
        );
      }
      case 'AAC': {
        // RFC 3640 §3.2.1: the length of the one AU header in bits, then 13 bits of size and 3 of index.
        const header = Buffer.alloc(4);
        header.writeUInt16BE(AU_HEADER_BITS, 0);
        header.writeUInt16BE((chunks[0]?.length ?? 0) << 3, 2);
        return [this.#packet(rtpTimestamp, true, [header, ...chunks])];
      }
      case 'opus':
        return [this.#packet(rtpTimestamp, false, chunks)];
      default:
        return codec satisfies never;
    }
  }

  #packet(rtpTimestamp: number, marker: boolean, payload: readonly Uint8Array[]): Buffer {
    const { payloadType, ssrc } = this;
    const sequenceNumber = this.#sequenceNumber++ & 0xffff;
    return writeRtpPacket({ payloadType, ssrc, sequenceNumber, timestamp: rtpTimestamp, marker }, ...payload);
  }
}
