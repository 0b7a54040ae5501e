import { ntpTimeOf, unixMsOf } from '@weir/frames';

import { fullBox, u32 } from './box.js';

/** The last byte of the flags. */
const FLAGS_OFFSET = 11;
const NTP_OFFSET = 16;
const MEDIA_TIME_OFFSET = 24;

/** What a reference time is the time of: the input of the encoder, or the capture (ISO 14496-12 §8.16.5). */
const REFERENCE_FLAGS = { input: 0, capture: 24 } as const;
export type ReferenceKind = keyof typeof REFERENCE_FLAGS;

export interface ReferenceTime {
  readonly kind: ReferenceKind;
  /** Milliseconds since 1970. */
  readonly unixMs: number;
  readonly mediaTimeTicks: number;
}

/** A box `prft`: tells when the track's media at this time was made. */
export function referenceTimeBox(trackId: number, { kind, unixMs, mediaTimeTicks }: ReferenceTime): Uint8Array {
  const { ntpSeconds, ntpFraction } = ntpTimeOf(unixMs);
  const mediaTime = [Math.floor(mediaTimeTicks / 2 ** 32), mediaTimeTicks % 2 ** 32];
  return fullBox('prft', 1, REFERENCE_FLAGS[kind], u32(trackId, ntpSeconds, ntpFraction, ...mediaTime));
}

/** Reads a whole box `prft` of version 1. */
export function referenceTimeOf(box: Uint8Array): ReferenceTime {
  const view = new DataView(box.buffer, box.byteOffset, box.byteLength);
  return {
    kind: box[FLAGS_OFFSET] === REFERENCE_FLAGS.capture ? 'capture' : 'input',
    unixMs: unixMsOf({ ntpSeconds: view.getUint32(NTP_OFFSET), ntpFraction: view.getUint32(NTP_OFFSET + 4) }),
    mediaTimeTicks: view.getUint32(MEDIA_TIME_OFFSET) * 2 ** 32 + view.getUint32(MEDIA_TIME_OFFSET + 4),
  };
}
