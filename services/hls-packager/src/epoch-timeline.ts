import { boxesIn } from '@weir/mp4';

import { EPOCH_MS } from './sequence-base.js';

interface DecodeTime {
  readonly trackId: number;
  /** The offset of the 64-bit time in `tfdt`, version 1. */
  readonly offset: number;
}

/** Finds the decode times of a fragment's tracks (ISO 14496-12 §8.8). */
function* decodeTimesIn(view: DataView): Generator<DecodeTime> {
  for (const moof of boxesIn(view, 0, view.byteLength)) {
    if (moof.type !== 'moof') continue;
    for (const traf of boxesIn(view, moof.start, moof.end)) {
      if (traf.type !== 'traf') continue;
      const boxes = [...boxesIn(view, traf.start, traf.end)];
      const tfhd = boxes.find(({ type }) => type === 'tfhd');
      const tfdt = boxes.find(({ type }) => type === 'tfdt');
      if (tfhd === undefined || tfdt === undefined || view.getUint8(tfdt.start) !== 1) continue;
      yield { trackId: view.getUint32(tfhd.start + 4), offset: tfdt.start + 4 };
    }
  }
}

/**
 * Shifts the media times of fragments by whole seconds to the wall clock. Each new packager begins a timeline of its
 * own. On this timeline, media after a lost source or a killed service come later than the media before, so that
 * players that know the earlier media can place the later ones.
 */
export class EpochTimeline {
  #aheadS: number | undefined;

  /** @param timescales by track id */
  constructor(private readonly timescales: ReadonlyMap<number, number>) {}

  /** Changes the fragment in place. @param programDateTimeMs when it begins */
  place(fragment: Uint8Array, programDateTimeMs: number): void {
    const view = new DataView(fragment.buffer, fragment.byteOffset, fragment.byteLength);
    for (const { trackId, offset } of decodeTimesIn(view)) {
      const timescale = this.timescales.get(trackId);
      if (timescale === undefined) continue;
      const ticks = view.getBigUint64(offset);
      this.#aheadS ??= Math.round((programDateTimeMs - EPOCH_MS) / 1_000 - Number(ticks) / timescale);
      // A whole second is a whole number of ticks in every track.
      view.setBigUint64(offset, ticks + BigInt(this.#aheadS * timescale));
    }
  }
}
