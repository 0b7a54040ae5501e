import { describe, expect, it } from 'vitest';

import { fmtpsOf, rtpmapsOf } from './attributes.js';
import { type MediaBlock, readDescription, type ReadingRules, SDP_LIMITS, valueOf, valuesOf } from './description.js';
import { SdpError } from './sdp-error.js';

const STRICT: ReadingRules = { mediaSections: 2, firstLine: 'v=0', otherLines: 'refused' };
const LENIENT: ReadingRules = { mediaSections: 2, firstLine: 'any', otherLines: 'skipped' };

function codeOf(text: string, rules: ReadingRules): string {
  try {
    readDescription(text, rules);
  } catch (error) {
    if (error instanceof SdpError) return error.code;
    throw error;
  }
  return 'read';
}

function sectionOf(...lines: string[]): MediaBlock {
  const [section] = readDescription(['m=video 9 RTP/AVP 96 97', ...lines].join('\n'), LENIENT).sections;
  if (!section) throw new Error('no section');
  return section;
}

describe('a description', () => {
  it.each(['\r\n', '\n', '\r'])('is cut into its session and its media, lines ending with %j', (end) => {
    const lines = [
      'v=0',
      's=A camera',
      'a=Tool: x ',
      '',
      'm=audio  9/2 RTP/AVP 0 8',
      'a=rtcp-mux',
      'm=video 0 RTP/AVP 96',
    ];
    expect(readDescription(lines.join(end), STRICT)).toEqual({
      session: { name: 'A camera', attributes: [{ name: 'tool', value: 'x' }] },
      sections: [
        {
          ...{ mediaType: 'audio', port: 9, protocol: 'RTP/AVP', formats: ['0', '8'] },
          attributes: [{ name: 'rtcp-mux', value: '' }],
        },
        { mediaType: 'video', port: 0, protocol: 'RTP/AVP', formats: ['96'], attributes: [] },
      ],
    });
  });

  it.each([
    ['of another kind', 'HTTP/1.1 200 OK', 'malformed', 'read'],
    ['with a line that is none', 'v=0\nhello', 'malformed', 'read'],
    ['of another version', 'v=01', 'malformed', 'read'],
    ['with a media line without a port', 'v=0\nm=audio RTP/AVP 0', 'malformed', 'malformed'],
    ['with port 70000', 'v=0\nm=audio 70000 RTP/AVP 0', 'malformed', 'malformed'],
    ['with a protocol that is none', 'v=0\nm=audio 9 RTP//AVP 0', 'malformed', 'malformed'],
    ['with a format that no line can carry', 'v=0\nm=audio 9 RTP/AVP 0\u20288', 'malformed', 'malformed'],
    ['with too many media', `v=0${'\nm=audio 9 RTP/AVP 0'.repeat(3)}`, 'too-large', 'too-large'],
    ['with too many formats', `v=0\nm=audio 9 RTP/AVP${' 0'.repeat(129)}`, 'too-large', 'too-large'],
    ['with too many lines', `v=0${'\na=x'.repeat(SDP_LIMITS.lines)}`, 'too-large', 'too-large'],
    ['with too long a line', `v=0\na=${'x'.repeat(SDP_LIMITS.lineCharacters)}`, 'too-large', 'too-large'],
    ['that is too long', `v=0${`\na=${'x'.repeat(9_000)}`.repeat(8)}`, 'too-large', 'too-large'],
    ['as large as one may be', `v=0\na=${'x'.repeat(SDP_LIMITS.lineCharacters - 2)}`, 'read', 'read'],
  ])('%s is refused, or read where nonsense is tolerated', (_what, text, strict, lenient) => {
    expect([codeOf(text, STRICT), codeOf(text, LENIENT)]).toEqual([strict, lenient]);
  });

  it('has the first value of an attribute that should come once, and all values of one that may come often', () => {
    const section = sectionOf('a=mid:1', 'a=mid:2');
    expect([valueOf(section, 'mid'), valuesOf(section, 'mid'), valueOf(section, 'ptime')]).toEqual([
      '1',
      ['1', '2'],
      undefined,
    ]);
  });

  it('has codecs by their rtpmap or by their static payload type, and ignores an invalid rtpmap', () => {
    const rtpmaps = rtpmapsOf(
      sectionOf(
        ...['a=rtpmap:96 H264/90000', 'a=rtpmap:96 VP8/90000', 'a=rtpmap:97 opus /48000 / 2', 'a=rtpmap:98 X'],
        ...['a=rtpmap:200 VP8/90000', 'a=rtpmap:99 a"b/8000', 'a=rtpmap:8 G729/16000', 'a=rtpmap:100 VP9/0'],
      ),
    );
    expect([8, 9, 96, 97, 98, 99, 100, 200].map((payloadType) => rtpmaps.get(payloadType))).toEqual([
      { name: 'G729', clockRate: 16_000, channels: undefined },
      { name: 'G722', clockRate: 8_000, channels: 1 },
      { name: 'H264', clockRate: 90_000, channels: undefined },
      { name: 'opus', clockRate: 48_000, channels: 2 },
      { name: 'X', clockRate: undefined, channels: undefined },
      undefined,
      { name: 'VP9', clockRate: undefined, channels: undefined },
      undefined,
    ]);
  });

  it('has parameters with names in lower case, merged from several lines, and none that touches a prototype', () => {
    const fmtps = fmtpsOf(
      sectionOf('a=fmtp:96 Mode=AAC-hbr; config=1190==;;0-16 ; __proto__=x', 'a=fmtp:96 mode=b', 'a=fmtp:x y=z'),
    );
    expect([...fmtps].map(([payloadType, fmtp]) => [payloadType, ...fmtp])).toEqual([
      [96, ['mode', 'b'], ['config', '1190=='], ['0-16', '']],
    ]);
  });
});
