import { describe, expect, it } from 'vitest';

import {
  LivePlaylist,
  parseResourceName,
  partName,
  type PlaylistOptions,
  renderMultivariantPlaylist,
} from './index.js';

/** A playlist that receives segments of five parts of 200 ms. */
class Fixture {
  readonly playlist: LivePlaylist;
  msn: number;
  index = 0;
  initId = 0;
  isDiscontinuity = false;
  hasKeyFrames = true;
  partTargetMs = 228;
  #segmentMs = 0;

  constructor(options: Partial<PlaylistOptions> = {}, firstMsn = 0) {
    this.playlist = new LivePlaylist({ targetDurationS: 1, ...options });
    this.msn = firstMsn;
  }

  part({ durationMs = 200, bytes = 1000 } = {}): this {
    this.playlist.add({
      tag: 'part',
      msn: this.msn,
      index: this.index,
      initId: this.initId,
      data: new Uint8Array(bytes),
      durationMs,
      isIndependent: this.hasKeyFrames && this.index === 0,
      isDiscontinuity: this.isDiscontinuity,
      programDateTimeMs: Date.UTC(2026, 0, 2, 3, 4, 5, 678) + this.msn * 1000,
      partTargetMs: this.partTargetMs,
      videoFrames: 6,
    });
    this.index++;
    this.#segmentMs += durationMs;
    return this;
  }

  endSegment(): this {
    this.playlist.add({ tag: 'segment-end', msn: this.msn++, durationMs: this.#segmentMs });
    this.index = 0;
    this.#segmentMs = 0;
    this.isDiscontinuity = false;
    return this;
  }

  segments(count: number, part?: { durationMs?: number; bytes?: number }): this {
    for (let segment = 0; segment < count; segment++) {
      for (let index = 0; index < 5; index++) this.part(part);
      this.endSegment();
    }
    return this;
  }

  parts(count: number): this {
    for (let index = 0; index < count; index++) this.part();
    return this;
  }
}

interface ParsedSegment {
  msn: number;
  uri: string | undefined;
  durationS: number | undefined;
  map: string;
  discontinuity: number;
  dateMs: number;
  parts: { uri: string; durationS: number; isIndependent: boolean }[];
}

interface ParsedPlaylist {
  tags: Map<string, string>;
  segments: ParsedSegment[];
  skipped: number;
  hint: string | undefined;
  hasEnded: boolean;
}

const attributesOf = (text: string) =>
  new Map(
    [...text.matchAll(/([A-Z0-9-]+)=("[^"]*"|[^,]*)/g)].map(([, name, value]) => [name!, value!.replaceAll('"', '')]),
  );

const ONCE = [
  'EXT-X-VERSION',
  'EXT-X-TARGETDURATION',
  'EXT-X-SERVER-CONTROL',
  'EXT-X-PART-INF',
  'EXT-X-MEDIA-SEQUENCE',
  'EXT-X-START',
  'EXT-X-DISCONTINUITY-SEQUENCE',
  'EXT-X-SKIP',
];

/** Parses a media playlist and checks it against RFC 8216bis; throws an Error that names the broken rule. */
function validate(text: string): ParsedPlaylist {
  const rule = (isKept: boolean, name: string) => {
    if (!isKept) throw new Error(`${name}\n${text}`);
  };
  const lines = text.split('\n');
  rule(lines[0] === '#EXTM3U', '§4.4.1.1: begins with EXTM3U');
  rule(lines.at(-1) === '' && !lines.slice(0, -1).includes(''), 'every line ends, none is blank');
  const tags = new Map<string, string>();
  const parsed: ParsedPlaylist = { tags, segments: [], skipped: 0, hint: undefined, hasEnded: false };
  let msn = Number(/#EXT-X-MEDIA-SEQUENCE:(\d+)/.exec(text)?.[1] ?? 0);
  let discontinuity = Number(/#EXT-X-DISCONTINUITY-SEQUENCE:(\d+)/.exec(text)?.[1] ?? 0);
  let map = '';
  let extinf: number | undefined;
  let dateMs = Number.NaN;
  let parts: ParsedSegment['parts'] = [];
  const segment = (uri: string | undefined) => {
    parsed.segments.push({ msn: msn++, uri, durationS: extinf, map, discontinuity, dateMs, parts });
    extinf = undefined;
    dateMs = Number.NaN;
    parts = [];
  };
  for (const line of lines.slice(1, -1)) {
    const [, tag = '', value = ''] = /^#(EXT[A-Z0-9-]*):?(.*)$/.exec(line) ?? [];
    if (ONCE.includes(tag)) {
      rule(!tags.has(tag), `${tag} occurs once`);
      const isLate = parsed.segments.length > 0 || parts.length > 0 || extinf !== undefined;
      rule(!isLate, `${tag} stands before the first segment`);
      tags.set(tag, value);
    }
    if (tag === 'EXT-X-SKIP') {
      parsed.skipped = Number(attributesOf(value).get('SKIPPED-SEGMENTS'));
      msn += parsed.skipped;
    } else if (tag === 'EXT-X-DISCONTINUITY') discontinuity++;
    else if (tag === 'EXT-X-MAP') map = attributesOf(value).get('URI')!;
    else if (tag === 'EXT-X-PROGRAM-DATE-TIME') dateMs = Date.parse(value);
    else if (tag === 'EXT-X-PART') {
      const attributes = attributesOf(value);
      const isIndependent = attributes.get('INDEPENDENT') === 'YES';
      parts.push({ uri: attributes.get('URI')!, durationS: Number(attributes.get('DURATION')), isIndependent });
    } else if (tag === 'EXTINF') extinf = Number(/^([\d.]+),$/.exec(value)?.[1]);
    else if (tag === 'EXT-X-PRELOAD-HINT') parsed.hint = attributesOf(value).get('URI');
    else if (tag === 'EXT-X-ENDLIST') parsed.hasEnded = true;
    else if (!line.startsWith('#')) {
      rule(extinf !== undefined && !Number.isNaN(extinf), '§4.4.4.1: each segment has its EXTINF');
      segment(line);
    } else rule(ONCE.includes(tag), `known tag ${line}`);
  }
  if (parts.length > 0) segment(undefined);
  const { segments } = parsed;
  const targetS = Number(tags.get('EXT-X-TARGETDURATION'));
  const partTargetS = Number(attributesOf(tags.get('EXT-X-PART-INF') ?? '').get('PART-TARGET'));
  const control = attributesOf(tags.get('EXT-X-SERVER-CONTROL') ?? '');
  rule(Number(tags.get('EXT-X-VERSION')) >= 9, '§8: EXT-X-SKIP needs version 9');
  rule(control.get('CAN-BLOCK-RELOAD') === 'YES', 'low latency needs blocking reload');
  rule(
    Number(control.get('PART-HOLD-BACK')) >= 2 * partTargetS,
    '§4.4.3.8: PART-HOLD-BACK is at least twice the part target',
  );
  rule(Number(control.get('HOLD-BACK')) >= 3 * targetS, '§4.4.3.8: HOLD-BACK is at least three target durations');
  rule(
    Number(control.get('CAN-SKIP-UNTIL')) >= 6 * targetS,
    '§4.4.3.8: the skip boundary is at least six target durations',
  );
  for (const [index, { durationS, parts: own, map: init, dateMs: date }] of segments.entries()) {
    rule(durationS === undefined || Math.round(durationS) <= targetS, '§4.4.3.1: no segment is longer than the target');
    rule(!Number.isNaN(date), 'each segment has a date');
    rule(init !== '' || parsed.skipped > 0, '§4.4.4.5: fMP4 has an EXT-X-MAP');
    rule(durationS !== undefined || index === segments.length - 1, 'only the last segment is unfinished');
    own.forEach((part, place) => {
      rule(part.durationS <= partTargetS, '§4.4.4.9: no part is longer than the part target');
      const isLast = durationS !== undefined && place === own.length - 1;
      rule(isLast || part.durationS >= 0.85 * partTargetS, '§4.4.4.9: other parts than the last have 85 % of it');
    });
    const sumS = own.reduce((sum, part) => sum + part.durationS, 0);
    rule(
      own.length === 0 || durationS === undefined || Math.abs(sumS - durationS) < 0.001,
      'parts add up to their segment',
    );
  }
  rule(parsed.hasEnded !== (parsed.hint !== undefined), 'a hint while it goes on, ENDLIST when it is over');
  return parsed;
}

const read = (fixture: Fixture, options = {}) => validate(fixture.playlist.render(options));

describe('the media playlist', () => {
  it('keeps the rules at every moment of a stream with discontinuities', () => {
    const fixture = new Fixture();
    let before = 0;
    for (let step = 0; step < 200; step++) {
      if (step % 35 === 34) {
        if (fixture.index > 0) fixture.endSegment();
        fixture.isDiscontinuity = true;
        fixture.initId++;
      }
      fixture.part();
      if (fixture.index === 5) fixture.endSegment();
      const { segments } = read(fixture);
      const last = segments.at(-1)!;
      const position = last.discontinuity;
      expect(position).toBeGreaterThanOrEqual(before);
      expect(position).toBe(Math.floor((step + 1) / 35));
      expect(last.map).toBe(`init-${position}.mp4`);
      before = position;
    }
  });

  describe('dates segments by their durations', () => {
    /** How many milliseconds later than the durations say each segment of one second begins. */
    const datesFor = (wallClockOffsetsMs: readonly number[]): number[] => {
      const playlist = new LivePlaylist({ targetDurationS: 1, windowMs: 600_000, maxSegments: 600 });
      const startMs = Date.UTC(2026, 0, 2);
      wallClockOffsetsMs.forEach((offsetMs, msn) => {
        const times = { durationMs: 1000, programDateTimeMs: startMs + msn * 1000 + offsetMs, partTargetMs: 1000 };
        const part = { msn, index: 0, initId: 0, data: new Uint8Array(1), isIndependent: true, videoFrames: 30 };
        playlist.add({ tag: 'part', ...part, ...times, isDiscontinuity: false });
        playlist.add({ tag: 'segment-end', msn, durationMs: 1000 });
      });
      const dates = [...playlist.render().matchAll(/PROGRAM-DATE-TIME:(.*)$/gm)].map(([, date]) => Date.parse(date!));
      return dates.map((date, msn) => date - startMs - msn * 1000);
    };

    it('while the wall clock differs by 150 ms at most', () => {
      expect(datesFor([0, 150, -150, 0, 149])).toEqual([0, 0, 0, 0, 0]);
    });

    it('nearly, while it differs by more: they approach it by 5 ms a second', () => {
      expect(datesFor([0, -400, -400, -400])).toEqual([0, -5, -10, -15]);
      const later = datesFor([0, ...Array.from({ length: 80 }, () => 400)]);
      expect(later.slice(0, 4)).toEqual([0, 5, 10, 15]);
      expect(later.slice(-3)).toEqual([250, 250, 250]);
    });

    it('until it differs by more than a second', () => {
      expect(datesFor([0, 1_001, 1_001])).toEqual([0, 1_001, 1_001]);
    });
  });

  it('names the part that comes next', () => {
    const fixture = new Fixture().segments(2).parts(3);
    expect(read(fixture).hint).toBe(partName(2, 3));
    expect(read(fixture.parts(2).endSegment()).hint).toBe(partName(3, 0));
  });

  it('lists parts for four hold-backs, so that a player that is further behind loads segments', () => {
    const { segments } = read(new Fixture().segments(7).parts(2));
    expect(segments.map((segment) => segment.parts.length)).toEqual([0, 0, 0, 0, 0, 5, 5, 2]);
  });

  it('lists parts for three target durations at most', () => {
    const { segments } = read(new Fixture({ partHoldBack: 20 }).segments(7).parts(2));
    expect(segments.map((segment) => segment.parts.length)).toEqual([0, 0, 0, 0, 5, 5, 5, 2]);
  });

  it('carries the query to every address', () => {
    const text = new Fixture().segments(3).parts(1).playlist.render({ query: 'token=a%2Bb' });
    const addresses = [...text.matchAll(/URI="([^"]*)"|^([^#\n].*)$/gm)].map(([, quoted, line]) => quoted ?? line!);
    expect(addresses).toHaveLength(1 + 3 * 6 + 1 + 1);
    for (const address of addresses) expect(address.endsWith('?token=a%2Bb')).toBe(true);
    validate(text);
  });

  it('leaves out what a player knows when asked to skip, and lists the rest as the whole playlist does', () => {
    const fixture = new Fixture({ windowMs: 12_000 }).segments(20).parts(2);
    const [whole, delta] = [read(fixture), read(fixture, { skip: true })];
    expect(delta.skipped).toBe(6);
    expect(delta.segments.map((segment) => segment.msn)).toEqual(whole.segments.slice(6).map((segment) => segment.msn));
    expect(delta.segments.map((segment) => segment.parts)).toEqual(
      whole.segments.slice(6).map((segment) => segment.parts),
    );
  });

  it('skips nothing that is younger than the skip boundary', () => {
    expect(read(new Fixture().segments(6), { skip: true }).skipped).toBe(0);
    expect(read(new Fixture().segments(7), { skip: true }).skipped).toBe(1);
  });

  it('drops segments by age, number and size, but keeps three finished ones', () => {
    const first = (fixture: Fixture) => read(fixture).segments[0]!.msn;
    expect(first(new Fixture({ windowMs: 5_000 }).segments(20))).toBe(15);
    expect(first(new Fixture({ maxSegments: 6 }).segments(20).parts(1))).toBe(15);
    expect(first(new Fixture({ maxBytes: 50_000 }).segments(20, { bytes: 1000 }))).toBe(12);
    expect(first(new Fixture({ maxBytes: 1 }).segments(20).parts(1))).toBe(17);
  });

  it('ends with ENDLIST and without a hint', () => {
    const fixture = new Fixture().segments(3);
    fixture.playlist.add({ tag: 'stream-end' });
    expect(read(fixture)).toMatchObject({ hasEnded: true, hint: undefined });
    expect(fixture.playlist.decideReload('999', undefined)).toBe('now');
    expect(fixture.playlist.decidePart(3, 0)).toBe('gone');
  });

  it('keeps the part target and the hold-back that it stated first', () => {
    const fixture = new Fixture().segments(1);
    const told = (text: string) => /PART-HOLD-BACK=[\d.]+\n#EXT-X-PART-INF:PART-TARGET=[\d.]+\n/.exec(text)?.[0];
    const first = told(fixture.playlist.render());
    expect(first).toContain('PART-TARGET=0.228');
    fixture.partTargetMs = 700;
    expect(told(fixture.segments(30).playlist.render())).toBe(first);
    expect(fixture.playlist.partTargetMs).toBe(228);
  });

  it('keeps a part that players can start with, however old it is, and tells them to start there', () => {
    const fixture = new Fixture({ windowMs: 5_000 }).segments(1);
    fixture.hasKeyFrames = false;
    fixture.segments(40).parts(2);
    const { segments, tags } = read(fixture);
    expect(segments[0]?.msn).toBe(0);
    // Whoever begins there loads whole segments, each once.
    expect(segments[0]?.parts).toEqual([]);
    expect(fixture.playlist.canBegin).toBe(true);
    expect(tags.get('EXT-X-START')).toBe('TIME-OFFSET=-41.4,PRECISE=YES');
    fixture.hasKeyFrames = true;
    fixture.endSegment().segments(1);
    expect(read(fixture).segments[0]!.msn).toBeGreaterThan(35);
    expect(read(fixture).tags.has('EXT-X-START')).toBe(false);
  });

  it('lists no parts of a segment to which it sends players that start', () => {
    const fixture = new Fixture().segments(1);
    fixture.hasKeyFrames = false;
    const { segments, tags } = read(fixture.segments(4));
    expect(tags.has('EXT-X-START')).toBe(true);
    expect(segments[0]?.parts).toEqual([]);
    expect(segments.at(-1)?.parts).not.toEqual([]);
  });

  it('says that nobody can start when the last part to start with is too far back', () => {
    const fixture = new Fixture({ maxSegments: 20 }).segments(1);
    fixture.hasKeyFrames = false;
    expect(fixture.segments(19).playlist.canBegin).toBe(true);
    expect(fixture.segments(1).playlist.canBegin).toBe(false);
    expect(read(fixture).segments).toHaveLength(20);
  });

  it('states the bandwidth of the segments that it has', () => {
    const fixture = new Fixture().segments(1, { bytes: 25_000 }).segments(1, { bytes: 50_000 });
    expect(fixture.playlist.bandwidth).toEqual({ peakBps: 2_000_000, averageBps: 1_500_000 });
  });
});

describe('blocking reload', () => {
  const open = () => new Fixture().segments(3).parts(2).playlist;
  const closed = () => new Fixture().segments(3).playlist;

  it.each([
    ['a plain request', open(), undefined, undefined, 'now'],
    ['a segment that is finished', open(), '2', undefined, 'now'],
    ['a part that is there', open(), '3', '1', 'now'],
    ['the next part', open(), '3', '2', 'wait'],
    ['the open segment as a whole', open(), '3', undefined, 'wait'],
    ['the segment after the open one', open(), '4', '0', 'wait'],
    ['the first part of the next segment', closed(), '3', '0', 'wait'],
    ['a part beyond a finished segment’s last, which is the next one’s first', closed(), '2', '5', 'wait'],
    ['such a part when the next segment is there', open(), '2', '9', 'now'],
    ['an old segment', open(), '0', '0', 'now'],
    ['a segment too far ahead', open(), '5', undefined, 'bad-request'],
    ['a segment too far ahead of a finished one', closed(), '5', undefined, 'bad-request'],
    ['a part too far ahead', open(), '3', '16', 'bad-request'],
    ['the furthest part allowed', open(), '3', '15', 'wait'],
    ['a part without a segment', open(), undefined, '1', 'bad-request'],
    ['no number', open(), 'x', undefined, 'bad-request'],
    ['a negative part', open(), '3', '-1', 'bad-request'],
    ['anything before the first part', new LivePlaylist({ targetDurationS: 1 }), undefined, undefined, 'wait'],
  ] as const)('%s', (_name, playlist, msn, part, decision) => {
    expect(playlist.decideReload(msn, part)).toBe(decision);
  });

  it('waits for the hinted part only, and knows which parts are there', () => {
    const playlist = open();
    expect(playlist.decidePart(3, 1)).toBe('now');
    expect(playlist.decidePart(3, 2)).toBe('wait');
    expect(playlist.decidePart(3, 3)).toBe('gone');
    expect(playlist.decidePart(4, 0)).toBe('gone');
    expect(closed().decidePart(3, 0)).toBe('wait');
    expect(playlist.decidePart(2, 5)).toBe('gone');
  });
});

describe('names', () => {
  it('are read back, and nothing else is', () => {
    expect(parseResourceName('part-12-3.m4s')).toEqual({ tag: 'part', msn: 12, index: 3 });
    expect(parseResourceName('segment-7.m4s')).toEqual({ tag: 'segment', msn: 7 });
    expect(parseResourceName('init-0.mp4')).toEqual({ tag: 'init', initId: 0 });
    for (const name of ['../init-0.mp4', 'part-1.m4s', 'segment-.m4s', 'segment-7.m4s\n']) {
      expect(parseResourceName(name)).toBeUndefined();
    }
  });
});

describe('the multivariant playlist', () => {
  it('states codecs, size and rate', () => {
    const video = { width: 1280, height: 720 };
    const variant = { codecs: ['avc1.64001f', 'mp4a.40.2'], video, frameRate: 30, peakBps: 2e6, averageBps: 1.5e6 };
    expect(renderMultivariantPlaylist([{ uri: 'live.m3u8', ...variant }], 'token=x').split('\n')).toEqual([
      '#EXTM3U',
      '#EXT-X-VERSION:9',
      '#EXT-X-STREAM-INF:BANDWIDTH=2000000,AVERAGE-BANDWIDTH=1500000,CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=1280x720,FRAME-RATE=30.000',
      'live.m3u8?token=x',
      '',
    ]);
  });

  it('states the session data, on one line whatever the text is', () => {
    const variant = { uri: 'live.m3u8', codecs: ['opus'], video: undefined, frameRate: undefined };
    const playlist = renderMultivariantPlaylist([{ ...variant, peakBps: 1, averageBps: undefined }], undefined, {
      'not-carried': 'audio "x"\n#EXTINF',
    });
    expect(playlist.split('\n')[2]).toBe(`#EXT-X-SESSION-DATA:DATA-ID="not-carried",VALUE="audio 'x''#EXTINF"`);
  });
});
