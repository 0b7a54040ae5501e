import { describe, expect, it } from 'vitest';
import { fromFirstPicture } from './rtsp-playback.js';

const packet = (timestamp: number, marker = false) => ({ timestamp, marker });

describe('a player that joins in the middle of a picture', () => {
  it('gets it from the next picture on', () => {
    const isWhole = fromFirstPicture();
    const packets = [packet(1), packet(1, true), packet(2), packet(2, true), packet(3, true), packet(4)];
    expect(packets.map(isWhole)).toEqual([false, false, true, true, true, true]);
  });

  it('gets the next picture too when the last packet of the first was lost, or has no marker', () => {
    const isWhole = fromFirstPicture();
    expect([packet(1), packet(1), packet(2), packet(2), packet(3)].map(isWhole)).toEqual([
      false,
      false,
      true,
      true,
      true,
    ]);
  });
});
