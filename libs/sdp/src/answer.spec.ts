import { readFileSync } from 'node:fs';
import { parse } from 'sdp-transform';
import { describe, expect, it } from 'vitest';

import { type AnsweredTransport, type AnswerOptions, type AnswerSection, writeAnswer } from './answer.js';
import type { StreamCodec } from './negotiation.js';
import { parseOffer } from './offer.js';
import { negotiatePlay, type PlayableStream } from './play.js';
import { negotiatePublish } from './publish.js';

const fixture = (name: string) => readFileSync(new URL(`./fixtures/${name}.sdp`, import.meta.url), 'utf8');

const TRANSPORT: AnsweredTransport = {
  iceParameters: { usernameFragment: 'serverfragment', password: 'serverpasswordserverpassword' },
  iceCandidates: [
    {
      foundation: 'udpcandidate',
      priority: 1076558079,
      address: '192.0.2.1',
      protocol: 'udp',
      port: 40000,
      type: 'host',
    },
    {
      foundation: 'tcpcandidate',
      priority: 1076302079,
      address: '192.0.2.1',
      protocol: 'tcp',
      port: 40000,
      type: 'host',
      tcpType: 'passive',
    },
  ],
  dtlsParameters: {
    fingerprints: [
      { algorithm: 'sha-1', value: Array(20).fill('11').join(':') },
      { algorithm: 'sha-256', value: Array(32).fill('22').join(':') },
    ],
  },
};

const AUDIO: StreamCodec = { kind: 'audio', mimeType: 'audio/opus', clockRate: 48000, channels: 2, parameters: {} };
const VIDEO: StreamCodec = {
  kind: 'video',
  mimeType: 'video/H264',
  clockRate: 90000,
  parameters: { 'packetization-mode': 1, 'profile-level-id': '42e01f' },
};

function publishAnswer(sdp: string, more: Partial<AnswerOptions> = {}): string {
  const offer = parseOffer(sdp);
  const { sections } = negotiatePublish(offer);
  return writeAnswer({ offer, transports: offer.transports.map(() => TRANSPORT), sections, originId: 7, ...more });
}

function playAnswer(sdp: string, stream: PlayableStream = { audio: AUDIO, video: VIDEO }): string {
  const offer = parseOffer(sdp);
  const sections = negotiatePlay(offer, stream).sections.map((section): AnswerSection => {
    if (section.tag !== 'send') return section;
    const sent = { ssrc: 1000 + section.mediaIndex, cname: 'cname', streamId: 'weir', trackId: section.kind };
    return { ...section, sent };
  });
  return writeAnswer({ offer, transports: offer.transports.map(() => TRANSPORT), sections, originId: '7' });
}

describe('every answer', () => {
  const answers = [
    ['chromium-156-publish', publishAnswer],
    ['firefox-153-publish-data-channel', publishAnswer],
    ['safari-13-publish', publishAnswer],
    ['chrome-71-publish', publishAnswer],
    ['chromium-156-play', playAnswer],
    ['safari-16-play', playAnswer],
    ['chrome-71-play', playAnswer],
  ] as const;

  it.each(answers)('ends its lines with CRLF and nothing else: %s', (name, answer) => {
    const lines = answer(fixture(name)).split('\r\n');
    expect(lines.at(-1)).toBe('');
    expect(lines.slice(0, -1).filter((line) => !/^[a-z]=[\x20-\x7e]+$/.test(line))).toEqual([]);
  });

  it.each(answers)("has the offer's m-lines, mids and protocols, in order: %s", (name, answer) => {
    const offered = parse(fixture(name));
    const answered = parse(answer(fixture(name)));
    const outline = ({ media }: typeof offered) => media.map(({ type, mid, protocol }) => [type, mid, protocol]);
    expect(outline(answered)).toEqual(outline(offered));
    expect(answered.icelite).toBe('ice-lite');
  });

  it.each(answers)("bundles the accepted mids only, with the server's transport in each: %s", (name, answer) => {
    const { groups, media } = parse(answer(fixture(name)));
    const accepted = media.filter(({ port }) => port !== 0);
    expect(groups).toEqual([{ type: 'BUNDLE', mids: accepted.map(({ mid }) => mid).join(' ') }]);
    for (const section of accepted) {
      expect(section).toMatchObject({
        port: 40000,
        connection: { version: 4, ip: '192.0.2.1' },
        iceUfrag: 'serverfragment',
        icePwd: 'serverpasswordserverpassword',
        fingerprint: { type: 'sha-256', hash: Array(32).fill('22').join(':') },
        setup: 'passive',
        rtcpMux: 'rtcp-mux',
        endOfCandidates: 'end-of-candidates',
        candidates: [
          { transport: 'udp', ip: '192.0.2.1', port: 40000, type: 'host', component: 1 },
          { transport: 'tcp', ip: '192.0.2.1', port: 40000, type: 'host', tcptype: 'passive' },
        ],
      });
    }
  });

  it.each(answers)('writes an fmtp directly behind its rtpmap: %s', (name, answer) => {
    const lines = answer(fixture(name)).split('\r\n');
    const stray = lines.filter((line, index) => {
      const payloadType = /^a=fmtp:(\d+) /.exec(line)?.[1];
      return payloadType !== undefined && !lines[index - 1]?.startsWith(`a=rtpmap:${payloadType} `);
    });
    expect(stray).toEqual([]);
  });
});

describe('the answer to a publisher', () => {
  it('receives one codec, with retransmission and the negotiated header extensions', () => {
    const [audio, video] = parse(publishAnswer(fixture('chromium-156-publish'))).media;
    expect(audio).toMatchObject({
      direction: 'recvonly',
      payloads: 111,
      rtp: [{ payload: 111, codec: 'opus', rate: 48000, encoding: 2 }],
      fmtp: [{ payload: 111, config: 'minptime=10;useinbandfec=1' }],
    });
    expect(video).toMatchObject({
      direction: 'recvonly',
      payloads: '108 109',
      rtp: [
        { payload: 108, codec: 'H264', rate: 90000 },
        { payload: 109, codec: 'rtx', rate: 90000 },
      ],
      fmtp: [
        {
          payload: 108,
          config: 'level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f;x-google-start-bitrate=800',
        },
        { payload: 109, config: 'apt=108' },
      ],
      rtcpRsize: 'rtcp-rsize',
    });
    expect(video?.ext?.map(({ value }) => value)).toEqual([2, 3, 4]);
    expect(video?.ssrcs).toBeUndefined();
    expect(video?.bandwidth).toBeUndefined();
  });

  it('bounds the video encoder, and says so where the WebSDK looks before it edits the line', () => {
    const bitrate = { minBps: 300_000, maxBps: 1_500_000 };
    const [audio, video] = parse(publishAnswer(fixture('chrome-71-publish'), { bitrate })).media;
    expect(audio?.bandwidth).toBeUndefined();
    expect(video?.bandwidth).toEqual([
      { type: 'AS', limit: 1500 },
      { type: 'TIAS', limit: 1500000 },
    ]);
    expect(video?.fmtp[0]?.config).toContain(
      ';x-google-min-bitrate=300;x-google-start-bitrate=800;x-google-max-bitrate=1500',
    );
  });

  it('gives VP8 an fmtp for its bounds', () => {
    const answer = publishAnswer(fixture('firefox-153-publish'), { bitrate: { maxBps: 500_000 } });
    const fmtp = 'a=fmtp:120 x-google-start-bitrate=500;x-google-max-bitrate=500';
    expect(answer).toContain(`a=rtpmap:120 VP8/90000\r\n${fmtp}\r\n`);
  });

  it('lets the encoder begin above its lower bound', () => {
    const answer = publishAnswer(fixture('chrome-71-publish'), { bitrate: { minBps: 2_000_000 } });
    expect(answer).toContain(';x-google-min-bitrate=2000;x-google-start-bitrate=2000\r\n');
    expect(answer).not.toContain('b=');
  });

  it('rejects a data channel with port 0 outside of BUNDLE', () => {
    const { media, groups } = parse(publishAnswer(fixture('chromium-156-publish-data-channel')));
    expect(media[2]).toMatchObject({ type: 'application', port: 0, protocol: 'UDP/DTLS/SCTP', direction: 'inactive' });
    expect(groups?.[0]?.mids).toBe('0 1');
    // Some clients want these in every section.
    expect(media[2]).toMatchObject({ iceUfrag: 'serverfragment', setup: 'passive' });
  });

  it('keeps a second camera in BUNDLE, inactive', () => {
    const { media, groups } = parse(publishAnswer(fixture('firefox-153-publish-two-videos')));
    expect(media.map(({ direction }) => direction)).toEqual(['recvonly', 'recvonly', 'inactive']);
    expect(groups?.[0]?.mids).toBe('0 1 2');
  });

  it('takes the active DTLS part from a client that is passive', () => {
    const passive = fixture('chromium-156-publish').replaceAll('a=setup:actpass', 'a=setup:passive');
    expect(parse(publishAnswer(passive)).media.map(({ setup }) => setup)).toEqual(['active', 'active']);
  });

  it('has neither mid nor BUNDLE when the offer has none, and a transport per section', () => {
    const offered = fixture('chrome-71-publish').replaceAll(/a=(mid|group):.*\r\n/g, '');
    const offer = parseOffer(offered);
    const transports = offer.transports.map((_, index) => ({
      ...TRANSPORT,
      iceParameters: { usernameFragment: `fragment${index}`, password: 'serverpasswordserverpassword' },
    }));
    const answer = parse(publishAnswer(offered, { transports }));
    expect(answer.groups).toBeUndefined();
    expect(answer.media.map(({ mid, iceUfrag }) => [mid, iceUfrag])).toEqual([
      [undefined, 'fragment0'],
      [undefined, 'fragment1'],
    ]);
  });
});

describe('the answer to a player', () => {
  it('sends one codec each, of one MediaStream, without header extensions', () => {
    const { media } = parse(playAnswer(fixture('safari-16-play')));
    expect(media).toMatchObject([
      {
        direction: 'sendonly',
        payloads: 98,
        rtp: [{ payload: 98, codec: 'H264' }],
        msid: [{ id: 'weir', appdata: 'video' }],
        rtcpFb: [
          { payload: 98, type: 'nack' },
          { payload: 98, type: 'nack', subtype: 'pli' },
          { payload: 98, type: 'ccm', subtype: 'fir' },
        ],
        ssrcs: [
          { id: 1000, attribute: 'cname', value: 'cname' },
          { id: 1000, attribute: 'msid', value: 'weir video' },
        ],
      },
      { direction: 'sendonly', payloads: 111, msid: [{ id: 'weir', appdata: 'audio' }] },
    ]);
    expect(media.map(({ ext }) => ext)).toEqual([undefined, undefined]);
  });

  it('keeps a video section that the stream cannot fill inactive and in BUNDLE', () => {
    const { media, groups } = parse(playAnswer(fixture('chromium-156-play'), { audio: AUDIO }));
    expect(media.map(({ direction }) => direction)).toEqual(['sendonly', 'inactive']);
    expect(media[1]?.ssrcs).toBeUndefined();
    expect(groups?.[0]?.mids).toBe('0 1');
  });
});

describe('the addresses', () => {
  const withCandidates = (iceCandidates: AnsweredTransport['iceCandidates']) =>
    publishAnswer(fixture('chromium-156-publish-audio-only'), { transports: [{ ...TRANSPORT, iceCandidates }] });
  const [udp, tcp] = TRANSPORT.iceCandidates;

  it('may be IPv6', () => {
    const answer = withCandidates(udp ? [{ ...udp, address: '2001:db8::1' }] : []);
    expect(answer).toContain('\r\nc=IN IP6 2001:db8::1\r\n');
    expect(answer).toContain('a=candidate:udpcandidate 1 udp 1076558079 2001:db8::1 40000 typ host\r\n');
  });

  it('are 0.0.0.0:9 in front of host names and of TCP alone', () => {
    expect(withCandidates(udp ? [{ ...udp, address: 'media.example.org' }] : [])).toContain('\r\nc=IN IP4 0.0.0.0\r\n');
    expect(withCandidates(tcp ? [tcp] : [])).toMatch(/\r\nm=audio 9 [^\r]*\r\nc=IN IP4 0\.0\.0\.0\r\n/);
  });
});

describe("the caller's mistakes", () => {
  const sdp = fixture('chromium-156-publish');

  it.each([
    ['an origin that is no number', { originId: '1\r\na=x' }],
    ['a missing transport', { transports: [] }],
    ['a missing section', { sections: [] }],
    [
      'a credential with a line end',
      { transports: [{ ...TRANSPORT, iceParameters: { usernameFragment: 'a\r\nb', password: 'p' } }] },
    ],
    ['a bitrate that is no number', { bitrate: { maxBps: Number.POSITIVE_INFINITY } }],
  ])('are reported: %s', (_what, more) => {
    expect(() => publishAnswer(sdp, more)).toThrow(RangeError);
  });
});
