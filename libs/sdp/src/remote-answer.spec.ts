import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseAnswer } from './remote-answer.js';
import { SdpError } from './sdp-error.js';

const fixture = (name: string) => readFileSync(new URL(`./fixtures/answers/${name}.sdp`, import.meta.url), 'utf8');
const ORIGINAL_ANSWER = fixture('original-publish');
const WEIR_ANSWER = fixture('weir-publish');

const FINGERPRINT = Array(32).fill('AB').join(':');
const minimal = (...lines: string[]) =>
  ['v=0', 's=-', 'm=video 4000 RTP/SAVPF 96', 'a=ice-ufrag:abcd', 'a=ice-pwd:efghefghefghefghefgh', ...lines].join(
    '\r\n',
  );

describe('the answer of the original server', () => {
  const { media } = parseAnswer(ORIGINAL_ANSWER);

  it('has a transport for each medium, with one user fragment, and does not state its DTLS role', () => {
    expect(media.map(({ kind, accepted, direction, transportOf }) => [kind, accepted, direction, transportOf])).toEqual(
      [
        ['audio', true, 'recvonly', 0],
        ['video', true, 'recvonly', 1],
      ],
    );
    expect(media[0]?.transport?.usernameFragment).toBe('90e14ad0-fdb2-11e8-bce2-a3f72476fb49cfmkh1cug233q2');
    expect(media[1]?.transport?.usernameFragment).toBe(media[0]?.transport?.usernameFragment);
    expect(media.map(({ transport }) => transport?.setup)).toEqual([undefined, undefined]);
    expect(media.map(({ transport }) => transport?.iceLite)).toEqual([false, false]);
  });

  it('has its candidates inline, and those of RTCP’s component don’t count', () => {
    expect(media.map(({ transport }) => transport?.candidates)).toEqual([
      [{ foundation: '1', priority: 2_130_706_431, address: '188.40.244.249', port: 31_686, type: 'host' }],
      [{ foundation: '1', priority: 2_130_706_431, address: '188.40.244.249', port: 31_920, type: 'host' }],
    ]);
  });

  it('has its fingerprint’s algorithm in capitals', () => {
    expect(media[0]?.transport?.fingerprints[0]).toMatchObject({ algorithm: 'sha-256', value: /^33:7A:40:CF:/ });
  });

  it('lists every codec that it could take', () => {
    expect(media[0]?.codecs.map(({ name, payloadType }) => [name, payloadType])).toEqual([
      ['opus', 111],
      ['PCMA', 8],
      ['G722', 9],
    ]);
    expect(media[1]?.codecs.map(({ name, payloadType }) => [name, payloadType])).toEqual([
      ['H264', 100],
      ['H264', 127],
      ['H264', 102],
      ['H264', 125],
      ['VP8', 96],
    ]);
    expect(media[1]?.codecs[1]?.parameters).toMatchObject({ 'profile-level-id': '42e01f', 'packetization-mode': '1' });
  });

  it('names the SSRCs of what it sends', () => {
    const played = parseAnswer(fixture('original-play'));
    expect(played.media.map(({ direction, ssrcs }) => [direction, ssrcs])).toEqual([
      ['sendonly', [1_734_923_542]],
      ['sendonly', [1_329_233_369]],
    ]);
  });
});

describe('the answer of weir', () => {
  it('bundles, is ICE-lite and passive', () => {
    const { media } = parseAnswer(WEIR_ANSWER);
    expect(media.map(({ transportOf }) => transportOf)).toEqual([0, 0]);
    expect(media[0]?.transport).toMatchObject({ iceLite: true, setup: 'passive' });
    expect(media[0]?.transport?.candidates).toHaveLength(1);
    expect(media[1]?.headerExtensions).toEqual([
      { id: 3, uri: 'http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time' },
    ]);
  });
});

describe('an answer', () => {
  it('may refuse a section, and leave credentials to the session', () => {
    const { media } = parseAnswer(
      ['v=0', 'a=ice-ufrag:abcd', 'a=ice-pwd:efghefghefgh', `a=fingerprint:sha-256 ${FINGERPRINT}`, 'a=setup:active']
        .concat('m=audio 0 RTP/SAVPF 111', 'm=video 9 RTP/SAVPF 96', 'a=rtpmap:96 VP8/90000')
        .join('\n'),
    );
    expect(media.map(({ accepted, transport }) => [accepted, transport?.setup])).toEqual([
      [false, undefined],
      [true, 'active'],
    ]);
  });

  it.each([
    ['nothing', '', 'malformed'],
    ['another text', 'HTTP/1.1 200 OK', 'malformed'],
    ['no media', 'v=0\r\ns=-\r\n', 'no-media'],
    ['no fingerprint', minimal(), 'no-fingerprint'],
    ['a weak fingerprint', minimal(`a=fingerprint:sha-1 ${Array(20).fill('AB').join(':')}`), 'no-fingerprint'],
    ['a cut fingerprint', minimal(`a=fingerprint:sha-256 ${FINGERPRINT.slice(3)}`), 'no-fingerprint'],
    ['no ICE credentials', minimal(`a=fingerprint:sha-256 ${FINGERPRINT}`).replace('a=ice-pwd', 'a=x'), 'no-ice'],
    ['too much text', `v=0\r\n${'a=x\r\n'.repeat(2_000)}`, 'too-large'],
    ['too many sections', `v=0\r\n${'m=video 0 X 0\r\n'.repeat(9)}`, 'too-large'],
  ])('with %s is refused', (_what, text, code) => {
    expect(() => parseAnswer(text)).toThrow(expect.objectContaining({ code }));
  });

  it('with invalid candidates is read without them', () => {
    const odd = ['1 2 udp 1 192.0.2.1 5 typ host', '1 1 tcp 1 192.0.2.1 5 typ host', '1 1 udp 1 a.local 5 typ host']
      .concat('1 1 udp x 192.0.2.1 5 typ host', '1 1 udp 1 192.0.2.1 99999 typ host', '', 'x')
      .map((candidate) => `a=candidate:${candidate}`);
    const { media } = parseAnswer(minimal(`a=fingerprint:sha-256 ${FINGERPRINT}`, ...odd));
    expect(media[0]?.transport?.candidates).toEqual([]);
  });

  it('that was damaged anywhere is either read or refused, and nothing else happens', () => {
    const texts = [WEIR_ANSWER, ORIGINAL_ANSWER];
    let refused = 0;
    for (const text of texts)
      for (let at = 0; at < text.length; at += 3)
        for (const damage of ['', '\u0000', '99999999999999999999', '\r\nm=audio', ':']) {
          try {
            parseAnswer(text.slice(0, at) + damage + text.slice(at + 5));
          } catch (error) {
            expect(error).toBeInstanceOf(SdpError);
            refused += 1;
          }
        }
    expect(refused).toBeGreaterThan(10);
  });
});
