import { describe, expect, it } from 'vitest';

import { codecLines, descriptionOf, mediaLine, sessionLines } from './lines.js';
import { describeRtpInputs } from './rtp-inputs.js';

describe('a written description', () => {
  it('has no line that was hidden in a value', () => {
    expect(sessionLines({ id: 1, version: 1, address: '0.0.0.0', name: 'lab\r\na=evil:1\u0000' })[2]).toBe(
      's=lab  a=evil:1 ',
    );
    expect(() => descriptionOf(['v=0', 'a=tool:x\r\na=evil:1'])).toThrow(RangeError);
    expect(() => mediaLine('audio\r\na=evil:1', 9, 'RTP/AVP', [0])).toThrow(RangeError);
    expect(() => mediaLine('audio', 9.5, 'RTP/AVP', [0])).toThrow(RangeError);
    expect(() => sessionLines({ id: '1.5', version: 1, address: '0.0.0.0' })).toThrow(RangeError);
  });

  it('leaves out parameters that no line can carry, and states a single channel for AAC only', () => {
    const audio = { clockRate: 8_000, channels: 1 };
    expect(
      codecLines({ ...audio, payloadType: 97, name: 'mpeg4-generic', parameters: { mode: 'x\ny', config: '1190' } }),
    ).toEqual(['a=rtpmap:97 mpeg4-generic/8000/1', 'a=fmtp:97 config=1190']);
    expect(codecLines({ ...audio, payloadType: 8, name: 'PCMA', parameters: {} })).toEqual(['a=rtpmap:8 PCMA/8000']);
    expect(codecLines({ payloadType: 96, name: 'VP8', clockRate: 90_000, parameters: {} }, ['ccm fir'])).toEqual([
      'a=rtpmap:96 VP8/90000',
      'a=rtcp-fb:96 ccm fir',
    ]);
  });

  it('tells a program on this machine what arrives at its ports', () => {
    const video = { kind: 'video', codec: 'H264', clockRate: 90_000, channels: 0 } as const;
    const audio = { kind: 'audio', codec: 'opus', clockRate: 48_000, channels: 2, parameters: {} } as const;
    expect(
      describeRtpInputs([
        { port: 5_000, payloadType: 96, track: { ...video, parameters: { 'packetization-mode': '1', flag: '' } } },
        { port: 5_002, payloadType: 97, track: audio },
      ]).split('\r\n'),
    ).toEqual([
      ...['v=0', 'o=- 0 0 IN IP4 127.0.0.1', 's=-', 'c=IN IP4 127.0.0.1', 't=0 0'],
      ...['m=video 5000 RTP/AVP 96', 'a=rtpmap:96 H264/90000', 'a=fmtp:96 packetization-mode=1;flag'],
      ...['m=audio 5002 RTP/AVP 97', 'a=rtpmap:97 opus/48000/2', ''],
    ]);
  });
});
