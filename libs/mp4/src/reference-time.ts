import { ntpTimeOf, unixMsOf } from '@weir/frames';

import { fullBox, u32 } from './box.js';

const NTP_OFFSET = 16;

/** Tells when the track's media at this time was made (ISO 14496-12 §8.16.5). */
export function referenceTimeBox(trackId: number, unixMs: number, mediaTimeTicks: number): Uint8Array {
  const { ntpSeconds, ntpFraction } = ntpTimeOf(unixMs);
  const mediaTime = [Math.floor(mediaTimeTicks / 2 ** 32), mediaTimeTicks % 2 ** 32];
  return fullBox('prft', 1, 0, u32(trackId, ntpSeconds, ntpFraction, ...mediaTime));
}

/** Milliseconds since 1970 from a whole box `prft`. */
export function referenceTimeOf(box: Uint8Array): number {
  const view = new DataView(box.buffer, box.byteOffset, box.byteLength);
  return unixMsOf({ ntpSeconds: view.getUint32(NTP_OFFSET), ntpFraction: view.getUint32(NTP_OFFSET + 4) });
}
