import { isBSlice } from './h264-slice.js';
import { parseH264Sps } from './h264-sps.js';
import { nalRole } from './parameter-sets.js';
import type { RtpPacket } from './rtp-packet.js';

/** If this many pictures arrive in order, the stream doesn't reorder any, unless its parameters say that it does. */
const ENOUGH_PICTURES = 8;
/**
 * If this many pictures arrive in order, the parameters are wrong: some encoders announce reordering that they don't
 * do.
 */
const TOO_MANY_PICTURES = 250;

/**
 * Detects whether the pictures of an H.264 stream arrive in another order than they are shown in, which WebRTC can't
 * carry. B slices prove it; before the first B slice, the parameter sets may announce it.
 */
export class PictureOrder {
  #pictures = 0;
  #hasBSlices = false;
  #told: number | undefined;
  #timestamp: number | undefined;

  push(packet: RtpPacket): void {
    if (this.#hasBSlices) return;
    for (const { nalUnit, isWhole } of packet.nalUnits('H264')) {
      const role = nalRole('H264', nalUnit);
      if (role === 'sps' && isWhole) this.#told = parseH264Sps(nalUnit)?.reorderFrames;
      if (role !== 'slice' && role !== 'key-slice') continue;
      if (packet.timestamp !== this.#timestamp) this.#pictures += 1;
      this.#timestamp = packet.timestamp;
      if (isBSlice(nalUnit)) this.#hasBSlices = true;
    }
  }

  get isReordered(): boolean {
    return this.#hasBSlices || (this.#told !== undefined && this.#told > 0 && this.#pictures < TOO_MANY_PICTURES);
  }

  /** Later packets are unlikely to change the result. */
  get isKnown(): boolean {
    return this.isReordered || this.#told === 0 || this.#pictures >= ENOUGH_PICTURES;
  }
}
