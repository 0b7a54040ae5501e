export interface ReadSample {
  duration: number;
  bytes: number;
  isSync: boolean;
  compositionOffset: number;
}

export interface ReadRun {
  trackId: number;
  decodeTime: number;
  samples: ReadSample[];
}

const NON_SYNC_BIT = 0x1_0000;

/**
 * The inverse of `writeMediaFragment`, without the data, for checks and diagnostics. It reads only what that function
 * writes.
 */
export function readMediaFragment(bytes: Uint8Array): ReadRun[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const moofEnd = view.getUint32(0);
  const runs: ReadRun[] = [];
  for (let traf = 24; traf < moofEnd; traf += view.getUint32(traf)) {
    const count = view.getUint32(traf + 56);
    const samples = Array.from({ length: count }, (_, index): ReadSample => {
      const at = traf + 64 + index * 16;
      return {
        duration: view.getUint32(at),
        bytes: view.getUint32(at + 4),
        isSync: (view.getUint32(at + 8) & NON_SYNC_BIT) === 0,
        compositionOffset: view.getInt32(at + 12),
      };
    });
    const decodeTime = view.getUint32(traf + 36) * 2 ** 32 + view.getUint32(traf + 40);
    runs.push({ trackId: view.getUint32(traf + 20), decodeTime, samples });
  }
  return runs;
}
