import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

import { type PlaySection, routerCodecs, type SendSection, type StreamCodec } from './negotiation.js';
import { parseOffer } from './offer.js';
import { writeAnswer, type AnswerSection } from './answer.js';
import { negotiateFurther, negotiatePlay, type PlayableStream } from './play.js';
import { parseAnswer } from './remote-answer.js';
import { negotiatePublish } from './publish.js';
import { NoCommonCodecsError } from './sdp-error.js';

const fixture = (name: string) => readFileSync(new URL(`./fixtures/${name}.sdp`, import.meta.url), 'utf8');

const OPUS: StreamCodec = {
  kind: 'audio',
  mimeType: 'audio/opus',
  clockRate: 48000,
  channels: 2,
  parameters: { minptime: 10, useinbandfec: 1 },
};
const VP8: StreamCodec = { kind: 'video', mimeType: 'video/VP8', clockRate: 90000, parameters: {} };
const h264 = (profile: string, mode = 1): StreamCodec => ({
  kind: 'video',
  mimeType: 'video/H264',
  clockRate: 90000,
  parameters: { 'packetization-mode': mode, 'profile-level-id': profile, 'level-asymmetry-allowed': 1 },
});

function play(name: string, stream: PlayableStream): PlaySection[] {
  return negotiatePlay(parseOffer(fixture(name)), stream).sections;
}

function sentVideo(name: string, video: StreamCodec): SendSection | undefined {
  return play(name, { video }).find((section) => section.tag === 'send');
}

describe('what a player is sent', () => {
  it.each([
    ['chromium-156-play', [111, 108]],
    ['chromium-156-play-video-first-max-bundle', [108, 111]],
    ['safari-16-play', [98, 111]],
    ['chrome-71-play', [111, 127]],
  ])("has the player's own payload types: %s", (name, payloadTypes) => {
    const sections = play(name, { audio: OPUS, video: h264('42e01f') });
    expect(sections.map((section) => (section.tag === 'send' ? section.codec.payloadType : section.tag))).toEqual(
      payloadTypes,
    );
  });

  it("is the stream's codec under the player's payload type, without header extensions and retransmission", () => {
    const section = sentVideo('safari-16-play', h264('640c1f'));
    expect(section?.routerCodec).toEqual({
      kind: 'video',
      mimeType: 'video/H264',
      preferredPayloadType: 96,
      clockRate: 90000,
      parameters: { 'packetization-mode': 1, 'profile-level-id': '640c1f', 'level-asymmetry-allowed': 1 },
      rtcpFeedback: [],
    });
    expect(section?.rtpCapabilities).toEqual({
      codecs: [
        {
          ...section?.routerCodec,
          rtcpFeedback: [{ type: 'nack' }, { type: 'nack', parameter: 'pli' }, { type: 'ccm', parameter: 'fir' }],
        },
      ],
      headerExtensions: [],
    });
  });

  it.each([
    ['its own profile', '4d001f', 1],
    ['its own profile and mode', '42e01f', 0],
  ])('goes under %s where the player has it', (_what, profile, mode) => {
    const codec = sentVideo('chromium-156-play', h264(profile, mode))?.codec;
    expect(codec?.parameters).toMatchObject({ 'profile-level-id': profile, 'packetization-mode': mode });
  });

  it('goes under the next higher profile of the player, else the next lower', () => {
    const profileFor = (profile: string) =>
      sentVideo('safari-16-play', h264(profile))?.codec.parameters['profile-level-id'];
    expect(profileFor('42001f')).toBe('640c1f');
    expect(profileFor('64001f')).toBe('640c1f');
    const profileIn71 = sentVideo('chrome-71-play', h264('64001f'))?.codec.parameters;
    expect(profileIn71).toMatchObject({ 'profile-level-id': '42001f', 'packetization-mode': 1 });
  });

  it("keeps the stream's profile towards mediasoup whatever the player calls it", () => {
    expect(sentVideo('chrome-71-play', h264('64001f'))?.routerCodec.parameters).toMatchObject({
      'profile-level-id': '64001f',
    });
  });

  it('plays a stream that the same browser published', () => {
    for (const [publisher, player] of [
      ['chromium-156-publish', 'chromium-156-play'],
      ['firefox-153-publish', 'firefox-153-play'],
      ['safari-13-publish', 'safari-16-play'],
      ['chrome-71-publish', 'chrome-71-play'],
      ['firefox-153-publish', 'safari-16-play'],
      ['safari-13-publish', 'chrome-71-play'],
    ] as const) {
      const stream: PlayableStream = {};
      for (const section of negotiatePublish(parseOffer(fixture(publisher))).sections) {
        if (section.tag === 'receive') stream[section.kind] = section.streamCodec;
      }
      expect(play(player, stream).map(({ tag }) => tag)).toEqual(['send', 'send']);
    }
  });
});

describe('a medium that only one side has', () => {
  it('leaves a video section inactive when the stream has no video', () => {
    expect(play('chromium-156-play', { audio: OPUS }).map(({ tag }) => tag)).toEqual(['send', 'inactive']);
  });

  it('leaves an audio section inactive when the stream has no audio', () => {
    expect(play('firefox-153-play', { video: VP8 }).map(({ tag }) => tag)).toEqual(['inactive', 'send']);
  });

  it('plays the audio alone to a player that offers no video', () => {
    expect(play('chromium-156-play-audio-only', { audio: OPUS, video: VP8 }).map(({ tag }) => tag)).toEqual(['send']);
  });

  it('rejects the section where it would need a transport of its own', () => {
    const unbundled = fixture('chromium-156-play').replace('a=group:BUNDLE 0 1\r\n', '');
    const { sections } = negotiatePlay(parseOffer(unbundled), { audio: OPUS });
    expect(sections.map(({ tag }) => tag)).toEqual(['send', 'rejected']);
  });
});

describe('a codec that only one side has', () => {
  const tags = (sdp: string, stream: PlayableStream) =>
    negotiatePlay(parseOffer(sdp), stream).sections.map(({ tag }) => tag);
  const both: PlayableStream = { audio: OPUS, video: h264('42e01f') };

  it('rejects that section alone, and names it: a browser without H.264 gets the sound', () => {
    expect(tags(fixture('firefox-153-play'), both)).toEqual(['send', 'rejected']);
    const notCarried = (stream: PlayableStream) =>
      negotiatePlay(parseOffer(fixture('firefox-153-play')), stream).notCarried;
    expect(notCarried(both)).toEqual(["video H264: the player doesn't take it"]);
    expect(notCarried({ audio: OPUS, video: VP8 })).toEqual([]);
    expect(notCarried({ audio: OPUS })).toEqual([]);
  });

  it('rejects that section alone: a player without Opus gets the picture', () => {
    const withoutOpus = fixture('chromium-156-play').replaceAll('opus/48000/2', 'speex/16000');
    const onTransportsOfTheirOwn = withoutOpus.replace(/a=group:BUNDLE.*\r\n/, '');
    expect(tags(onTransportsOfTheirOwn, both)).toEqual(['rejected', 'send']);
  });

  it('keeps that section when it describes the transport of the others', () => {
    expect(tags(fixture('firefox-153-play-video-first-max-bundle'), both)).toEqual(['inactive', 'send']);
  });

  it.each(['OPUS/48000', 'opus/48000/1'])('does not depend on how it is written: %s is Opus', (rtpmap) => {
    const sdp = fixture('chromium-156-play').replaceAll('opus/48000/2', rtpmap);
    const [audio] = negotiatePlay(parseOffer(sdp), both).sections;
    expect(audio).toMatchObject({
      tag: 'send',
      rtpCapabilities: { codecs: [{ mimeType: 'audio/opus', channels: 2 }] },
    });
    expect(tags(sdp, both)).toEqual(['send', 'send']);
  });
});

describe('several streams for one player', () => {
  const first: PlayableStream = { audio: OPUS, video: VP8 };
  const vp9: StreamCodec = { ...VP8, mimeType: 'video/VP9', parameters: { 'profile-id': 0 } };
  const offering = (videos: number) => {
    const [head = '', audio = '', video = ''] = fixture('chromium-156-play').split(/(?=^m=)/m);
    const more = Array.from({ length: videos }, (_, index) => video.replace('a=mid:1', `a=mid:${index + 1}`));
    const mids = Array.from({ length: videos + 1 }, (_, index) => index).join(' ');
    return parseOffer([head.replace('BUNDLE 0 1', `BUNDLE ${mids}`), audio, ...more].join(''));
  };
  const sentIn = (sections: readonly PlaySection[]) =>
    sections.map((section) => (section.tag === 'send' ? [section.streamIndex, section.codec.name] : section.tag));

  it('fill the sections of the offer in their order, and leave the rest inactive', () => {
    const further = [{ video: vp9 }, { video: VP8 }];
    expect(sentIn(negotiatePlay(offering(2), first, further).sections)).toEqual([
      [0, 'opus'],
      [0, 'VP8'],
      [1, 'VP9'],
    ]);
    expect(sentIn(negotiatePlay(offering(4), first, further).sections)).toEqual([
      [0, 'opus'],
      [0, 'VP8'],
      [1, 'VP9'],
      [2, 'VP8'],
      'inactive',
    ]);
  });

  it('get a free section when they begin later, else a new one in the same BUNDLE group', () => {
    const offer = offering(2);
    const { sections } = negotiatePlay(offer, first);
    const add = { kind: 'video', codec: VP8, streamIndex: 1 } as const;
    const free = negotiateFurther(offer, sections, add);
    expect([free?.section.mediaIndex, free?.offer]).toEqual([2, offer]);
    const filled = sections.map((section, index) => (index === 2 && free ? free.section : section));
    const added = negotiateFurther(offer, filled, { ...add, streamIndex: 2 });
    expect(added?.section).toMatchObject({ mediaIndex: 3, transportIndex: 0, codec: { name: 'VP8' } });
    expect(added?.offer.bundleGroups).toEqual([['0', '1', '2', 'weir3']]);
    expect(offer.media).toHaveLength(3);
  });

  it('are described by a later offer as by the answer', () => {
    const offer = offering(1);
    const { sections } = negotiatePlay(offer, first);
    const added = negotiateFurther(offer, sections, { kind: 'video', codec: VP8, streamIndex: 1 });
    if (added === undefined) throw new Error('no section');
    const sent = (section: PlaySection, index: number): AnswerSection =>
      section.tag === 'send'
        ? { ...section, sent: { ssrc: index + 1, cname: 'c', streamId: `s${index}`, trackId: 't' } }
        : section;
    const transport = {
      iceParameters: { usernameFragment: 'abcd', password: '0123456789abcdef012345' },
      iceCandidates: [],
      dtlsParameters: { fingerprints: [{ algorithm: 'sha-256' as const, value: Array(32).fill('AB').join(':') }] },
    };
    const text = writeAnswer({
      ...{ offer: added.offer, transports: [transport], originId: 1, version: 3 },
      sections: [...sections, added.section].map(sent),
    });
    expect(parseAnswer(text).media.map(({ mid, direction, ssrcs }) => [mid, direction, ssrcs])).toEqual([
      ['0', 'sendonly', [1]],
      ['1', 'sendonly', [2]],
      ['weir2', 'sendonly', [3]],
    ]);
  });

  it('get no new section without BUNDLE, where it would need a transport of its own', () => {
    const offer = parseOffer(fixture('chromium-156-play').replace('a=group:BUNDLE 0 1\r\n', ''));
    const { sections } = negotiatePlay(offer, first);
    expect(negotiateFurther(offer, sections, { kind: 'video', codec: VP8, streamIndex: 1 })).toBeUndefined();
  });

  it('never exceed the number of sections that an offer may have', () => {
    const offer = offering(7);
    const { sections } = negotiatePlay(offer, first, Array(6).fill({ video: VP8 }));
    expect(negotiateFurther(offer, sections, { kind: 'video', codec: VP8, streamIndex: 7 })).toBeUndefined();
  });
});

describe('the packetization mode', () => {
  const offering = (...modes: (number | undefined)[]) =>
    [
      ...['v=0', 'o=- 1 2 IN IP4 127.0.0.1', 's=-', 't=0 0', 'a=ice-ufrag:abcd', 'a=ice-pwd:0123456789abcdef012345'],
      `a=fingerprint:sha-256 ${Array(32).fill('AB').join(':')}`,
      `m=video 9 UDP/TLS/RTP/SAVPF ${modes.map((_mode, index) => 96 + index).join(' ')}`,
      ...['a=recvonly', 'a=rtcp-mux'],
      ...modes.flatMap((mode, index) => [
        `a=rtpmap:${96 + index} H264/90000`,
        ...(mode === undefined ? [] : [`a=fmtp:${96 + index} packetization-mode=${mode};profile-level-id=42e01f`]),
      ]),
      '',
    ].join('\r\n');
  const chosen = (...modes: (number | undefined)[]) => {
    const [section] = negotiatePlay(parseOffer(offering(...modes)), { video: h264('42e01f') }).sections;
    return section?.tag === 'send' ? section.codec.payloadType : section?.tag;
  };

  it('may be left out, or be 0, though the stream has fragments: such players put them together', () => {
    expect(chosen(undefined)).toBe(96);
    expect(chosen(0)).toBe(96);
  });

  it("is the stream's where the player has it", () => {
    expect(chosen(undefined, 0, 1)).toBe(98);
  });

  it('is named in the refusal where it is the reason', () => {
    expect(() => chosen(2)).toThrow('No common video codec: offered H264/42e01f (interleaved), wanted H264/42e01f');
  });
});

describe('a player that cannot show the stream', () => {
  it('is refused with the names of both sides', () => {
    try {
      play('firefox-153-play', { video: h264('42e01f') });
      expect.unreachable();
    } catch (error) {
      if (!(error instanceof NoCommonCodecsError)) throw error;
      expect(error).toMatchObject({ kind: 'video', offered: ['VP8', 'VP9', 'AV1'], wanted: ['H264/42e01f'] });
    }
  });

  it('is refused when it offers only what the stream lacks', () => {
    expect(() => play('chromium-156-play-audio-only', { video: VP8 })).toThrow(NoCommonCodecsError);
  });

  it('is refused when it offers to send', () => {
    expect(() => play('chromium-156-publish', { video: VP8 })).toThrow(NoCommonCodecsError);
  });

  it('is refused a VP9 profile that it did not offer', () => {
    const vp9 = (profile: number): StreamCodec => ({
      ...VP8,
      mimeType: 'video/VP9',
      parameters: { 'profile-id': profile },
    });
    expect(sentVideo('safari-16-play', vp9(0))?.codec.payloadType).toBe(106);
    expect(() => sentVideo('safari-16-play', vp9(2))).toThrow(NoCommonCodecsError);
  });
});

describe('the codecs of a router', () => {
  const codecsOf = (name: string, stream: PlayableStream) => routerCodecs(play(name, stream));

  it('are the same for offers that number the codecs alike, in whatever order their sections are', () => {
    const stream = { audio: OPUS, video: h264('42e01f') };
    expect(codecsOf('chromium-156-play', stream)).toEqual(codecsOf('chromium-156-play-video-first-max-bundle', stream));
    expect(codecsOf('chromium-156-play', stream)).not.toEqual(codecsOf('safari-16-play', stream));
  });

  it('do not depend on parameters that do not reach the router', () => {
    const plain: StreamCodec = { ...OPUS, parameters: {} };
    expect(codecsOf('chromium-156-play', { audio: OPUS })).toEqual(codecsOf('chromium-156-play', { audio: plain }));
  });

  it('tell profiles apart', () => {
    expect(codecsOf('chrome-71-play', { video: h264('64001f') })).not.toEqual(
      codecsOf('chrome-71-play', { video: h264('42001f') }),
    );
  });

  it('have audio first', () => {
    expect(codecsOf('safari-16-play', { audio: OPUS, video: VP8 }).map(({ kind }) => kind)).toEqual(['audio', 'video']);
  });
});
