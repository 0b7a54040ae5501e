import { describe, expect, it } from 'vitest';
import { withDiscontinuitiesFrom, withQueries } from './playlist-text.js';
import { firstMediaSequence } from './sequence-base.js';

const PLAYLIST = `#EXTM3U
#EXT-X-MEDIA-SEQUENCE:7
#EXT-X-DISCONTINUITY-SEQUENCE:2
#EXT-X-MAP:URI="init-3.mp4"
#EXT-X-PART:DURATION=0.2,URI="part-7-0.m4s",INDEPENDENT=YES
#EXTINF:0.2,
segment-7.m4s
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="part-8-0.m4s"
`;

describe('a playlist', () => {
  it('gets a query after every address', () => {
    const text = withQueries(PLAYLIST, (resource) => `q=${resource.tag}`);
    expect(text).toContain('URI="init-3.mp4?q=init"\n');
    expect(text).toContain('URI="part-7-0.m4s?q=part",INDEPENDENT=YES\n');
    expect(text).toContain('\nsegment-7.m4s?q=segment\n');
    expect(text).toContain('URI="part-8-0.m4s?q=part"\n');
  });

  it('counts discontinuities from a given number', () => {
    expect(withDiscontinuitiesFrom(100, PLAYLIST)).toContain('#EXT-X-DISCONTINUITY-SEQUENCE:102\n#EXT-X-MAP');
    const without = PLAYLIST.replace(/#EXT-X-DISCONTINUITY-SEQUENCE.*\n/, '');
    expect(withDiscontinuitiesFrom(100, without)).toContain('SEQUENCE:7\n#EXT-X-DISCONTINUITY-SEQUENCE:100\n');
  });

  it('that begins later begins above the numbers that an earlier one can have reached', () => {
    const startMs = Date.UTC(2026, 5, 1);
    for (const lifeMs of [1_000, 60_000, 86_400_000]) {
      // The segments have the shortest duration that the settings allow.
      const lastMsn = firstMediaSequence(startMs) + lifeMs / 500;
      expect(firstMediaSequence(startMs + lifeMs)).toBeGreaterThan(lastMsn);
    }
    expect(firstMediaSequence(Date.UTC(2036, 0, 1))).toBeLessThan(2 ** 31);
  });
});
