import { readdirSync, readFileSync } from 'node:fs';
import { isFrameCodec } from '@weir/frames';
import { describe, expect, it } from 'vitest';

import { type AnsweredTransport, type AnswerSection, writeAnswer } from './answer.js';
import { isCodecName } from './codec-match.js';
import type { PlaySection, PublishSection, StreamCodec } from './negotiation.js';
import { parseOffer } from './offer.js';
import { negotiatePlay } from './play.js';
import { negotiatePublish } from './publish.js';
import { parseAnswer } from './remote-answer.js';
import { parseRtspDescription, writeRtspDescription } from './rtsp-description.js';
import { SdpError } from './sdp-error.js';

const FIXTURES = new URL('./fixtures/', import.meta.url);
const OFFERS = readdirSync(FIXTURES)
  .filter((name) => name.endsWith('.sdp'))
  .map((name) => readFileSync(new URL(name, FIXTURES), 'utf8'));
const LINES = [...new Set(OFFERS.flatMap((offer) => offer.split('\r\n')))];

const ROUNDS = 6000;

const TRANSPORT: AnsweredTransport = {
  iceParameters: { usernameFragment: 'serverfragment', password: 'serverpasswordserverpassword' },
  iceCandidates: [{ foundation: 'udp', priority: 1, address: '192.0.2.1', protocol: 'udp', port: 40000, type: 'host' }],
  dtlsParameters: { fingerprints: [{ algorithm: 'sha-256', value: Array(32).fill('22').join(':') }] },
};

const STREAM: { audio: StreamCodec; video: StreamCodec } = {
  audio: { kind: 'audio', mimeType: 'audio/opus', clockRate: 48000, channels: 2, parameters: {} },
  video: { kind: 'video', mimeType: 'video/VP8', clockRate: 90000, parameters: {} },
};

/** Strings that inject a line, break a parser or fill memory. */
const POISON = [
  '\r\na=evil:1',
  '\na=evil:1',
  '\ra=evil:1',
  '\u2028a=evil:1',
  '\0',
  ' evil',
  '__proto__',
  'constructor',
  'a=fmtp:96 __proto__=evil;constructor=evil;x=\x0bevil',
  'a=mid:\r\na=evil:1',
  'a=ssrc:4294967296 cname:evil evil',
  'a=ssrc:-1 cname:evil',
  'a=rtpmap:96 VP8/90000/evil',
  'a=rtpmap:999 opus/48000/2',
  'a=rtpmap:111 opus/48000/2',
  'a=extmap:0 urn:ietf:params:rtp-hdrext:sdes:mid',
  'a=extmap:300 urn:ietf:params:rtp-hdrext:sdes:mid',
  'a=ssrc-group:FID 1 1',
  'a=ssrc-group:FID',
  'a=group:BUNDLE 0 0 1 0 1',
  'a=group:BUNDLE',
  'a=fingerprint:sha-256 evil',
  'a=setup:evil',
  'm=video 9 UDP/TLS/RTP/SAVPF 96',
  'm=audio 0 RTP/AVP 0 evil',
  'm=audio 9 RTP/SAVPF 0 0 0 111 \ud800',
  'm=',
  'a=',
  '='.repeat(5000),
  '%0d%0aa=evil',
  '😀',
];

/** mulberry32, so every run has the same offers. */
function randomFrom(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
}

function pick<T>(list: readonly T[], random: (limit: number) => number): T {
  const item = list[random(list.length)];
  if (item === undefined) throw new Error('Nothing to pick from');
  return item;
}

function mutate(offer: string, random: (limit: number) => number): string {
  const lines = offer.split('\r\n');
  for (let count = 1 + random(4); count > 0; count--) {
    const at = random(lines.length);
    const line = lines[at] ?? '';
    const column = random(line.length + 1);
    switch (random(8)) {
      case 0:
        lines.splice(at, 1 + random(3));
        break;
      case 1:
        lines.splice(at, 0, pick(LINES, random));
        break;
      case 2:
        lines.splice(at, 0, pick(POISON, random));
        break;
      case 3:
        lines[at] = line.slice(0, column) + pick(POISON, random) + line.slice(column);
        break;
      case 4:
        lines[at] = line.slice(0, column) + String.fromCharCode(random(300)) + line.slice(column + 1);
        break;
      case 5:
        lines[at] = line.replace(/\d+/, String(pick([0, 1, 64, 127, 128, 65536, 2 ** 32, -1], random)));
        break;
      case 6: {
        const other = random(lines.length);
        lines[at] = lines[other] ?? '';
        lines[other] = line;
        break;
      }
      default:
        lines.push(...pick(OFFERS, random).split('\r\n').slice(random(20)));
    }
  }
  return lines.join(pick(['\r\n', '\r\n', '\n'], random));
}

/** Every form of line that an answer may contain. */
const ANSWER_LINE = new RegExp(
  `^(?:${[
    'v=0',
    'o=- 7 2 IN IP4 127\\.0\\.0\\.1',
    's=-',
    't=0 0',
    'c=IN IP4 (?:192\\.0\\.2\\.1|0\\.0\\.0\\.0)',
    'm=\\S+ \\d+ [A-Za-z0-9/]+(?: \\S+)+',
    'a=ice-lite|a=rtcp-mux|a=rtcp-rsize|a=end-of-candidates|a=sendonly|a=recvonly|a=inactive',
    'a=msid-semantic: WMS \\*',
    'a=group:BUNDLE(?: \\S+)+',
    'a=mid:\\S+',
    'a=ice-ufrag:serverfragment|a=ice-pwd:serverpasswordserverpassword',
    'a=fingerprint:sha-256 [0-9A-F:]+',
    'a=setup:(?:active|passive)',
    'a=candidate:udp 1 udp 1 192\\.0\\.2\\.1 40000 typ host',
    'a=extmap:\\d+ (?:urn|https?):\\S+',
    "a=rtpmap:\\d+ [!#-'*+\\-.0-9A-Z^_`a-z{|}~]+/\\d+(?:/\\d+)?",
    'a=fmtp:\\d+ [A-Za-z0-9=;,.+/:-]+',
    'a=rtcp-fb:\\d+ (?:nack|nack pli|ccm fir|goog-remb|transport-cc)',
    'a=msid:weir track',
    'a=ssrc:5 (?:cname:cname|msid:weir track)',
  ].join('|')})$`,
);

function check(sdp: string, isPublish: boolean): 'answered' | 'refused' {
  try {
    const offer = parseOffer(sdp);
    const sections: (PublishSection | PlaySection)[] = isPublish
      ? negotiatePublish(offer).sections
      : negotiatePlay(offer, STREAM).sections;
    const sent = { ssrc: 5, cname: 'cname', streamId: 'weir', trackId: 'track' };
    const answer = writeAnswer({
      offer,
      transports: offer.transports.map(() => TRANSPORT),
      sections: sections.map((section): AnswerSection => (section.tag === 'send' ? { ...section, sent } : section)),
      originId: 7,
    });
    const lines = answer.split(/\r\n|[\r\n\u2028\u2029]/);
    expect(lines.pop()).toBe('');
    expect(lines.filter((line) => !ANSWER_LINE.test(line))).toEqual([]);
    expect(lines.filter((line) => line.startsWith('m='))).toHaveLength(offer.media.length);
    for (const section of sections) {
      if (section.tag === 'receive' || section.tag === 'send') expect(isCodecName(section.codec.name)).toBe(true);
    }
    return 'answered';
  } catch (error) {
    if (error instanceof SdpError) return 'refused';
    throw error;
  }
}

describe('a hostile offer', () => {
  it(`is refused with an SdpError or answered without a foreign line, ${ROUNDS} times`, { timeout: 120_000 }, () => {
    const random = randomFrom(20181212);
    const outcomes = { answered: 0, refused: 0 };
    for (let round = 0; round < ROUNDS; round++) {
      const sdp = mutate(pick(OFFERS, random), random);
      outcomes[check(sdp, random(2) === 0)]++;
    }
    // Both outcomes really occurred.
    expect(outcomes.answered).toBeGreaterThan(ROUNDS / 10);
    expect(outcomes.refused).toBeGreaterThan(ROUNDS / 10);
  });

  it.each(POISON)('cannot get %j into an answer through any place of a short offer', (poison) => {
    const short = (OFFERS.find((offer) => offer.length < 1500) ?? '').split('\r\n').slice(0, 24).join('\r\n');
    for (let at = 0; at <= short.length; at += 3) {
      const sdp = `${short.slice(0, at)}${poison}${short.slice(at)}\r\n`;
      check(sdp, true);
      check(sdp, false);
    }
  });

  it('leaves the prototypes of objects alone', () => {
    check(OFFERS[0]?.replaceAll('a=fmtp:111 ', 'a=fmtp:111 __proto__=evil;constructor=evil;') ?? '', true);
    expect(Reflect.get({}, 'evil')).toBeUndefined();
    expect(Object.keys(Object.prototype)).toEqual([]);
  });
});

const ANSWERS = new URL('./fixtures/answers/', import.meta.url);
const DESCRIPTIONS = [...OFFERS, ...readdirSync(ANSWERS).map((name) => readFileSync(new URL(name, ANSWERS), 'utf8'))];

describe('a hostile description', () => {
  it(`is read or refused with an SdpError by the reader of answers, ${ROUNDS} times`, { timeout: 120_000 }, () => {
    const random = randomFrom(20260101);
    const outcomes = { read: 0, refused: 0 };
    for (let round = 0; round < ROUNDS; round++) {
      try {
        parseAnswer(mutate(pick(DESCRIPTIONS, random), random));
        outcomes.read++;
      } catch (error) {
        expect(error).toBeInstanceOf(SdpError);
        outcomes.refused++;
      }
    }
    expect(outcomes.read).toBeGreaterThan(ROUNDS / 10);
    expect(outcomes.refused).toBeGreaterThan(ROUNDS / 10);
  });

  it(
    `is written again from what RTSP reads of it without a foreign line, ${ROUNDS} times`,
    { timeout: 120_000 },
    () => {
      const random = randomFrom(20260102);
      let written = 0;
      for (let round = 0; round < ROUNDS; round++) {
        const read = parseRtspDescription(mutate(pick(DESCRIPTIONS, random), random));
        if (read.tag === 'malformed') continue;
        const tracks = read.tracks.flatMap(({ kind, ...track }) =>
          kind === 'other' || !isFrameCodec(track.codec) ? [] : [{ ...track, kind }],
        );
        const text = writeRtspDescription({ sessionId: '1', sessionVersion: 1, sessionName: read.sessionName, tracks });
        const lines = text.split(/\r\n|[\r\n]/);
        expect(
          lines.filter(
            (line) => !/^(?:[vsoct]=|m=(?:audio|video) 0 RTP|a=(?:rtpmap|fmtp|control|range):|$)/.test(line),
          ),
        ).toEqual([]);
        expect(lines.filter((line) => line.startsWith('m='))).toHaveLength(tracks.length);
        written++;
      }
      expect(written).toBeGreaterThan(ROUNDS / 10);
    },
  );
});
