import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

import { OFFER_LIMITS, parseOffer } from './offer.js';
import { SdpError } from './sdp-error.js';

const fixture = (name: string) => readFileSync(new URL(`./fixtures/${name}.sdp`, import.meta.url), 'utf8');

const FINGERPRINT = Array.from({ length: 32 }, (_, index) => (index + 160).toString(16)).join(':');

/** The smallest usable offer. Each line can be left out, replaced or added to. */
function offerOf({
  session = [],
  transport = ['a=ice-ufrag:abcd', 'a=ice-pwd:0123456789abcdef012345', `a=fingerprint:sha-256 ${FINGERPRINT}`],
  media = ['m=audio 9 UDP/TLS/RTP/SAVPF 111', 'a=rtpmap:111 opus/48000/2', 'a=rtcp-mux'],
  end = '\r\n',
}: {
  session?: string[];
  transport?: string[];
  media?: string[];
  end?: string;
} = {}): string {
  return ['v=0', 'o=- 1 2 IN IP4 127.0.0.1', 's=-', 't=0 0', ...session, ...transport, ...media, ''].join(end);
}

function codeOf(sdp: string): string {
  try {
    parseOffer(sdp);
  } catch (error) {
    if (error instanceof SdpError) return error.code;
    throw error;
  }
  return 'accepted';
}

describe('a recorded offer', () => {
  it("of Chromium's publisher is one bundled transport whose client may take either DTLS role", () => {
    const offer = parseOffer(fixture('chromium-156-publish'));
    expect(offer.transports).toEqual([
      {
        iceParameters: { usernameFragment: 'nivc', password: 'vShP7FBZ3gxpviArfaHalo72' },
        dtlsParameters: {
          role: 'client',
          fingerprints: [
            {
              algorithm: 'sha-256',
              value: '47:2C:12:61:3A:1A:29:4A:51:90:EB:1D:AD:B3:4C:66:5D:1F:80:96:08:79:C3:A8:6C:DE:E7:DB:16:4A:C9:96',
            },
          ],
        },
        mediaIndexes: [0, 1],
        bundled: true,
      },
    ]);
    expect(offer.bundleGroups).toEqual([['0', '1']]);
  });

  it('keeps codecs in the order of the m-line, with their parameters and feedback', () => {
    const video = parseOffer(fixture('chromium-156-publish')).media[1];
    expect(video?.codecs.slice(0, 4).map(({ name, payloadType }) => [name, payloadType])).toEqual([
      ['VP8', 96],
      ['rtx', 97],
      ['H264', 102],
      ['rtx', 103],
    ]);
    expect(video?.codecs[2]).toEqual({
      payloadType: 102,
      name: 'H264',
      clockRate: 90000,
      parameters: { 'level-asymmetry-allowed': 1, 'packetization-mode': 1, 'profile-level-id': '42001f' },
      rtcpFeedback: [
        { type: 'goog-remb' },
        { type: 'transport-cc' },
        { type: 'ccm', parameter: 'fir' },
        { type: 'nack' },
        { type: 'nack', parameter: 'pli' },
      ],
    });
  });

  it('folds the SSRC of retransmissions into that of the media', () => {
    const [audio, video] = parseOffer(fixture('chrome-71-publish')).media;
    expect(audio?.ssrcs).toEqual([{ ssrc: 3498121776, cname: 'Ft3gt16szZ3kA110' }]);
    expect(video?.ssrcs).toEqual([{ ssrc: 3064307282, cname: 'Ft3gt16szZ3kA110', rtxSsrc: 2143201641 }]);
  });

  it('of Firefox has its fingerprint at the session level, and a bundle-only section with port 0 that is on', () => {
    const offer = parseOffer(fixture('firefox-153-play-video-first-max-bundle'));
    expect(offer.transports).toMatchObject([{ mediaIndexes: [0, 1], dtlsParameters: { role: 'client' } }]);
    expect(offer.media.map(({ enabled, direction }) => [enabled, direction])).toEqual([
      [true, 'recvonly'],
      [true, 'recvonly'],
    ]);
  });

  it('of a client without BUNDLE has no use for a bundle-only section: it is switched off', () => {
    const sdp = fixture('firefox-153-play-video-first-max-bundle').replace(/a=group:BUNDLE[^\r\n]*\r?\n/, '');
    const offer = parseOffer(sdp);
    expect(offer.media.map(({ enabled }) => enabled)).toEqual([true, false]);
    expect(offer.transports).toMatchObject([{ mediaIndexes: [0], bundled: false }]);
  });

  it('keeps a data channel as a section without a transport', () => {
    for (const browser of ['chromium-156', 'firefox-153']) {
      const { media, transports } = parseOffer(fixture(`${browser}-publish-data-channel`));
      expect(media[2]).toMatchObject({ kind: 'other', mediaType: 'application', formats: ['webrtc-datachannel'] });
      expect(media[2]?.transportIndex).toBeUndefined();
      expect(transports[0]?.mediaIndexes).toEqual([0, 1]);
    }
  });
});

describe('an unusual but usable offer', () => {
  it('may end its lines with LF', () => {
    const crlf = parseOffer(fixture('safari-16-play'));
    expect(parseOffer(fixture('safari-16-play').replaceAll('\r\n', '\n'))).toEqual(crlf);
  });

  it('may have everything of the transport at the session level, and neither mid, nor setup, nor direction', () => {
    expect(parseOffer(offerOf())).toMatchObject({
      transports: [{ iceParameters: { usernameFragment: 'abcd' }, dtlsParameters: { role: 'client' }, bundled: false }],
      media: [{ direction: 'sendrecv', transportIndex: 0, rtcpMux: true }],
      bundleGroups: [],
    });
  });

  it('has one transport per m-line without BUNDLE', () => {
    const media = (port: number, ufrag: string) => [
      `m=audio ${port} RTP/SAVPF 0`,
      `a=ice-ufrag:${ufrag}`,
      'a=ice-pwd:0123456789abcdef012345',
      'a=setup:passive',
    ];
    const offer = parseOffer(
      offerOf({
        transport: [`a=fingerprint:SHA-256 ${FINGERPRINT}`],
        media: [...media(5000, 'first'), ...media(5002, 'second')],
      }),
    );
    expect(offer.transports).toMatchObject([
      { iceParameters: { usernameFragment: 'first' }, dtlsParameters: { role: 'server' }, mediaIndexes: [0] },
      { iceParameters: { usernameFragment: 'second' }, dtlsParameters: { role: 'server' }, mediaIndexes: [1] },
    ]);
    expect(offer.media[0]?.codecs).toMatchObject([{ name: 'PCMU', payloadType: 0, clockRate: 8000 }]);
  });

  it.each(['RTP/SAVPF', 'UDP/TLS/RTP/SAVPF', 'TCP/TLS/RTP/SAVPF', 'TCP/DTLS/RTP/SAVPF', 'UDP/TLS/RTP/SAVP'])(
    'may say %s',
    (protocol) => {
      const offer = parseOffer(offerOf({ media: [`m=video 9 ${protocol} 96`, 'a=rtpmap:96 VP8/90000'] }));
      expect(offer.media[0]).toMatchObject({ protocol, transportIndex: 0 });
    },
  );

  it('may write the hash in any case; the value becomes what mediasoup compares with', () => {
    const transport = ['a=ice-ufrag:abcd', 'a=ice-pwd:0123456789abcdef012345', `a=fingerprint:Sha-256 ${FINGERPRINT}`];
    expect(parseOffer(offerOf({ transport })).transports[0]?.dtlsParameters.fingerprints).toEqual([
      { algorithm: 'sha-256', value: FINGERPRINT.toUpperCase() },
    ]);
  });

  it('has its strongest common fingerprint first', () => {
    const sha1 = Array.from({ length: 20 }, () => 'AA').join(':');
    const transport = [
      'a=ice-ufrag:abcd',
      'a=ice-pwd:0123456789abcdef012345',
      'a=fingerprint:md5 AA:BB',
      `a=fingerprint:sha-1 ${sha1}`,
      `a=fingerprint:sha-256 ${FINGERPRINT}`,
    ];
    const fingerprints = parseOffer(offerOf({ transport })).transports[0]?.dtlsParameters.fingerprints;
    expect(fingerprints?.map(({ algorithm }) => algorithm)).toEqual(['sha-256', 'sha-1']);
  });

  it('applies feedback for all payload types to each', () => {
    const media = [
      'm=video 9 RTP/SAVPF 96 97',
      'a=rtpmap:96 VP8/90000',
      'a=rtpmap:97 VP9/90000',
      'a=rtcp-fb:* nack pli',
    ];
    expect(parseOffer(offerOf({ media })).media[0]?.codecs).toMatchObject([
      { rtcpFeedback: [{ type: 'nack', parameter: 'pli' }] },
      { rtcpFeedback: [{ type: 'nack', parameter: 'pli' }] },
    ]);
  });

  it('may switch a section off with port 0', () => {
    const media = ['m=video 0 UDP/TLS/RTP/SAVPF 96', 'm=audio 9 UDP/TLS/RTP/SAVPF 0', 'a=rtcp-mux'];
    const offer = parseOffer(offerOf({ media }));
    expect(offer.media[0]).toMatchObject({ enabled: false });
    expect(offer.media[0]?.transportIndex).toBeUndefined();
    expect(offer.transports[0]?.mediaIndexes).toEqual([1]);
  });

  it('may name a mid in BUNDLE that no section has', () => {
    const media = ['m=audio 9 UDP/TLS/RTP/SAVPF 0', 'a=mid:a'];
    expect(parseOffer(offerOf({ session: ['a=group:BUNDLE x a'], media })).bundleGroups).toEqual([['a']]);
  });

  it('keeps a profile-level-id of digits as text, with or without leading zeros', () => {
    const media = [
      'm=video 9 RTP/SAVPF 96',
      'a=rtpmap:96 h264/90000',
      'a=fmtp:96 profile-level-id=640028; packetization-mode=1',
    ];
    expect(parseOffer(offerOf({ media })).media[0]?.codecs[0]).toMatchObject({
      name: 'H264',
      parameters: { 'profile-level-id': '640028', 'packetization-mode': 1 },
    });
  });
});

describe('an offer that cannot be used', () => {
  it.each([
    ['is empty', '', 'malformed'],
    ['is JSON', '{"sdp":"v=0"}', 'malformed'],
    ['has no media section', offerOf({ media: [] }), 'no-media'],
    ['has only a data channel', offerOf({ media: ['m=application 9 UDP/DTLS/SCTP webrtc-datachannel'] }), 'no-media'],
    ['has no ICE credentials', offerOf({ transport: [`a=fingerprint:sha-256 ${FINGERPRINT}`] }), 'no-ice'],
    ['has no password', offerOf({ transport: ['a=ice-ufrag:abcd', `a=fingerprint:sha-256 ${FINGERPRINT}`] }), 'no-ice'],
    [
      'has no fingerprint',
      offerOf({ transport: ['a=ice-ufrag:abcd', 'a=ice-pwd:0123456789abcdef012345'] }),
      'no-fingerprint',
    ],
    ['has a fingerprint of the wrong length', offerOf({ session: ['a=fingerprint:sha-256 AA:BB'] }), 'malformed'],
    ['has every section switched off', offerOf({ media: ['m=audio 0 UDP/TLS/RTP/SAVPF 0'] }), 'unsupported'],
    ['is not RTP', offerOf({ media: ['m=audio 9 udp 0'] }), 'unsupported'],
    ['would hold the connection', offerOf({ session: ['a=setup:holdconn'] }), 'unsupported'],
    ['has a media line without formats', offerOf({ media: ['m=audio 9 UDP/TLS/RTP/SAVPF'] }), 'malformed'],
    ['has a media line with port 70000', offerOf({ media: ['m=audio 70000 UDP/TLS/RTP/SAVPF 0'] }), 'malformed'],
    ['has a mid with a space', offerOf({ media: ['m=audio 9 RTP/SAVPF 0', 'a=mid:a b'] }), 'malformed'],
    [
      'has the same mid twice',
      offerOf({ media: ['m=audio 9 RTP/SAVPF 0', 'a=mid:a', 'm=video 9 RTP/SAVPF 96', 'a=mid:a'] }),
      'malformed',
    ],
    [
      'has the same SSRC in two sections',
      offerOf({ media: ['m=audio 9 RTP/SAVPF 0', 'a=ssrc:5 cname:a', 'm=video 9 RTP/SAVPF 96', 'a=ssrc:5 cname:a'] }),
      'malformed',
    ],
    ['has a line that is none', offerOf({ session: ['hello'] }), 'malformed'],
    ['is too long', offerOf({ session: [`i=${'x'.repeat(OFFER_LIMITS.characters)}`] }), 'too-large'],
    ['has too many lines', offerOf({ session: Array.from({ length: OFFER_LIMITS.lines }, () => 'a=x') }), 'too-large'],
    [
      'has too many sections',
      offerOf({ media: Array.from({ length: OFFER_LIMITS.mediaSections + 1 }, () => 'm=audio 9 RTP/SAVPF 0') }),
      'too-large',
    ],
    [
      'has too many SSRCs',
      offerOf({
        media: [
          'm=audio 9 RTP/SAVPF 0',
          ...Array.from({ length: OFFER_LIMITS.ssrcsPerSection + 1 }, (_, index) => `a=ssrc:${index + 1} cname:a`),
        ],
      }),
      'too-large',
    ],
    [
      'has too many formats',
      offerOf({ media: [`m=audio 9 RTP/SAVPF ${Array.from({ length: 129 }, (_, index) => index).join(' ')}`] }),
      'too-large',
    ],
  ])('is refused when it %s', (_what, sdp, code) => {
    expect(codeOf(sdp)).toBe(code);
  });

  it('is refused at once when it is 10 MB', () => {
    expect(codeOf(`v=0\r\n${'a=x\r\n'.repeat(2_000_000)}`)).toBe('too-large');
  });
});
