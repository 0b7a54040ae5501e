import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

import { codecName, type ReceiveSection, routerCodecs } from './negotiation.js';
import { parseOffer } from './offer.js';
import { negotiatePublish, type PublishPreferences } from './publish.js';
import { NoCommonCodecsError, SdpError } from './sdp-error.js';

const fixture = (name: string) => readFileSync(new URL(`./fixtures/${name}.sdp`, import.meta.url), 'utf8');

function publish(sdp: string, preferences?: PublishPreferences) {
  return negotiatePublish(parseOffer(sdp), preferences).sections;
}

function received(sdp: string, preferences?: PublishPreferences): ReceiveSection[] {
  return publish(sdp, preferences).filter((section) => section.tag === 'receive');
}

/** A video section that sends; `lines` come after the m-line. */
function videoOffer(payloadTypes: string, ...lines: string[]): string {
  return [
    'v=0',
    'o=- 1 2 IN IP4 127.0.0.1',
    's=-',
    't=0 0',
    'a=ice-ufrag:abcd',
    'a=ice-pwd:0123456789abcdef012345',
    `a=fingerprint:sha-256 ${Array(32).fill('AB').join(':')}`,
    `m=video 9 UDP/TLS/RTP/SAVPF ${payloadTypes}`,
    'a=sendonly',
    'a=rtcp-mux',
    'a=ssrc:77 cname:me',
    ...lines,
    '',
  ].join('\r\n');
}

const h264 = (payloadType: number, profile: string, mode = 1) => [
  `a=rtpmap:${payloadType} H264/90000`,
  `a=fmtp:${payloadType} packetization-mode=${mode};profile-level-id=${profile}`,
];

describe('which codec a publisher is asked for', () => {
  it.each([
    [
      'chromium-156-publish',
      [
        ['opus', 111],
        ['H264', 108],
      ],
    ],
    ['chromium-156-publish-audio-only', [['opus', 111]]],
    [
      'firefox-153-publish',
      [
        ['opus', 109],
        ['VP8', 120],
      ],
    ],
    [
      'safari-13-publish',
      [
        ['opus', 111],
        ['H264', 98],
      ],
    ],
    [
      'chrome-71-publish',
      [
        ['opus', 111],
        ['H264', 127],
      ],
    ],
  ])('of %s', (name, expected) => {
    expect(received(fixture(name)).map((section) => [codecName(section), section.codec.payloadType])).toEqual(expected);
  });

  it('prefers constrained baseline with packetization mode 1, then baseline, then main, and mode 0 last', () => {
    const order = [
      [96, '64001f', 1],
      [97, '42e01f', 0],
      [98, '4d001f', 1],
      [99, '42001f', 1],
      [100, '42e01f', 1],
    ] as const;
    const chosen: number[] = [];
    for (let offered = [...order]; offered.length > 0;) {
      const lines = offered.flatMap(([payloadType, profile, mode]) => h264(payloadType, profile, mode));
      const [section] = received(videoOffer(offered.map(([payloadType]) => payloadType).join(' '), ...lines));
      chosen.push(section?.codec.payloadType ?? -1);
      offered = offered.filter(([payloadType]) => payloadType !== section?.codec.payloadType);
    }
    expect(chosen).toEqual([100, 99, 98, 96, 97]);
  });

  it('passes over an unknown H.264 profile', () => {
    const sdp = videoOffer('96 97', ...h264(96, 'ffffff'), 'a=rtpmap:97 VP8/90000');
    expect(received(sdp).map(codecName)).toEqual(['VP8']);
  });

  it('follows the preferences given', () => {
    const sections = received(fixture('chromium-156-publish'), { videoCodecs: ['VP8', 'H264'], audioCodecs: ['PCMA'] });
    expect(sections.map(codecName)).toEqual(['PCMA', 'VP8']);
  });

  it('passes over a payload type that looks like RTCP', () => {
    expect(received(videoOffer('72 96', 'a=rtpmap:72 VP8/90000', 'a=rtpmap:96 VP8/90000'))[0]?.codec.payloadType).toBe(
      96,
    );
  });

  it('prefers profile 0 of VP9', () => {
    const sdp = videoOffer('98 100', 'a=rtpmap:98 VP9/90000', 'a=fmtp:98 profile-id=2', 'a=rtpmap:100 VP9/90000');
    expect(received(sdp)[0]?.codec.payloadType).toBe(100);
  });
});

describe('what mediasoup is told of a publisher', () => {
  it("is the client's payload types, retransmission, SSRCs, mid and cname", () => {
    const video = received(fixture('chromium-156-publish'))[1];
    expect(video?.rtpParameters).toEqual({
      mid: '1',
      codecs: [
        {
          mimeType: 'video/H264',
          payloadType: 108,
          clockRate: 90000,
          parameters: { 'level-asymmetry-allowed': 1, 'packetization-mode': 1, 'profile-level-id': '42e01f' },
          rtcpFeedback: [
            { type: 'nack' },
            { type: 'nack', parameter: 'pli' },
            { type: 'ccm', parameter: 'fir' },
            { type: 'transport-cc' },
          ],
        },
        { mimeType: 'video/rtx', payloadType: 109, clockRate: 90000, parameters: { apt: 108 }, rtcpFeedback: [] },
      ],
      headerExtensions: [
        { uri: 'http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time', id: 2 },
        { uri: 'http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01', id: 3 },
        { uri: 'urn:ietf:params:rtp-hdrext:sdes:mid', id: 4 },
      ],
      encodings: [{ ssrc: 511855753, rtx: { ssrc: 1245810921 } }],
      rtcp: { cname: 'hx/2ehKPZSCzwcyB', reducedSize: true },
    });
    expect(video?.routerCodec).toMatchObject({ kind: 'video', mimeType: 'video/H264', preferredPayloadType: 108 });
  });

  it.each(['chromium-156-publish', 'firefox-153-publish', 'safari-13-publish', 'chrome-71-publish'])(
    'never has orientation, capture time or simulcast ids: %s',
    (name) => {
      const uris = received(fixture(name)).flatMap((section) =>
        section.rtpParameters.headerExtensions.map(({ uri }) => String(uri)),
      );
      expect(uris.filter((uri) => /video-orientation|abs-capture-time|stream-id/.test(uri))).toEqual([]);
    },
  );

  it('falls back to REMB where there is no transport-wide feedback', () => {
    const feedback = (...extensions: string[]) =>
      received(
        videoOffer('96', 'a=rtpmap:96 VP8/90000', 'a=rtcp-fb:* goog-remb', 'a=rtcp-fb:* transport-cc', ...extensions),
      )[0]?.rtpParameters.codecs[0]?.rtcpFeedback;
    expect(feedback()).toEqual([]);
    expect(feedback('a=extmap:3 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time')).toEqual([
      { type: 'goog-remb' },
    ]);
  });

  it('has the AV1 dependency descriptor, without which mediasoup finds no key frame', () => {
    const sections = received(fixture('chromium-156-publish-simulcast'), { videoCodecs: ['AV1'] });
    expect(sections[0]?.rtpParameters.headerExtensions.map(({ uri }) => uri)).toContain(
      'https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension',
    );
  });

  it('has one encoding and no rid when the client would send simulcast', () => {
    expect(received(fixture('chromium-156-publish-simulcast'))[0]?.rtpParameters).toMatchObject({
      mid: '0',
      encodings: [{}],
    });
  });

  it('says that silence is expected when the client uses DTX', () => {
    const sdp = fixture('chromium-156-publish').replace('useinbandfec=1', 'useinbandfec=1;usedtx=1');
    expect(received(sdp)[0]?.rtpParameters.encodings).toMatchObject([{ dtx: true }]);
  });

  it("gives the router another payload type where two transports' media have the same", () => {
    const sdp = videoOffer(
      '96',
      'a=rtpmap:96 VP8/90000',
      'm=audio 9 UDP/TLS/RTP/SAVPF 96',
      'a=rtpmap:96 opus/48000/2',
    ).concat('a=rtcp-mux\r\na=ssrc:78 cname:me\r\na=sendonly\r\n');
    const codecs = routerCodecs(received(sdp));
    expect(codecs.map(({ kind, preferredPayloadType }) => [kind, preferredPayloadType])).toEqual([
      ['audio', 97],
      ['video', 96],
    ]);
    expect(received(sdp).map((section) => section.rtpParameters.codecs[0]?.payloadType)).toEqual([96, 96]);
  });
});

describe('the section that describes the transport of a BUNDLE group', () => {
  /** Moves the data channel's section before the others. */
  const dataChannelFirst = (name: string) => {
    const [head = '', ...sections] = fixture(name).split(/^(?=m=)/m);
    const data = sections.filter((section) => section.startsWith('m=application'));
    const media = sections.filter((section) => !section.startsWith('m=application'));
    const mid = /a=mid:(\S+)/.exec(data[0] ?? '')?.[1] ?? '';
    const mids = /a=group:BUNDLE (.*)/.exec(head)?.[1]?.trim().split(' ') ?? [];
    const group = [mid, ...mids.filter((each) => each !== mid)].join(' ');
    return [head.replace(/a=group:BUNDLE .*/, `a=group:BUNDLE ${group}\r`), ...data, ...media].join('');
  };

  it.each(['chromium-156-publish-data-channel', 'firefox-153-publish-data-channel'])(
    'stays though it is a data channel: %s',
    (name) => {
      const [data, ...media] = publish(dataChannelFirst(name));
      expect(data).toMatchObject({ tag: 'inactive', mediaIndex: 0, transportIndex: 0 });
      expect(media.map(({ tag }) => tag)).toEqual(['receive', 'receive']);
    },
  );

  it('stays though its codecs are unknown, and so does the group', () => {
    const sdp = fixture('chromium-156-publish').replaceAll(
      /a=rtpmap:(\d+) (?:opus|PCM[AU]|G722)\//g,
      'a=rtpmap:$1 x-own/',
    );
    expect(publish(sdp).map(({ tag }) => tag)).toEqual(['inactive', 'receive']);
  });

  it('is rejected where nothing of its group is in use', () => {
    const alone = dataChannelFirst('chromium-156-publish-data-channel').replace(
      /a=group:BUNDLE .*/,
      'a=group:BUNDLE 2\r',
    );
    expect(publish(alone)[0]).toMatchObject({ tag: 'rejected' });
  });
});

describe('several videos', () => {
  const twoVideos = fixture('chromium-156-publish-two-videos');

  it('are received up to the number that is wanted, with one codec in the router', () => {
    const { sections, notCarried } = negotiatePublish(parseOffer(twoVideos), { videos: 2, videoCodecs: ['VP8'] });
    expect(sections.map((section) => [section.tag, 'kind' in section ? section.kind : ''])).toEqual([
      ['receive', 'audio'],
      ['receive', 'video'],
      ['receive', 'video'],
    ]);
    expect(notCarried).toEqual([]);
    expect(routerCodecs(sections).map(({ mimeType }) => mimeType)).toEqual(['audio/opus', 'video/VP8']);
    const [, first, second] = received(twoVideos, { videos: 2 });
    expect(first?.rtpParameters.mid).not.toBe(second?.rtpParameters.mid);
    expect(first?.rtpParameters.encodings).not.toEqual(second?.rtpParameters.encodings);
  });

  it('keep the codecs that the router of the session has, and its payload types, in a later offer', () => {
    const [opus, vp8] = routerCodecs(publish(twoVideos, { videoCodecs: ['VP8'] }));
    const [taken = -1] = received(twoVideos, { videoCodecs: ['H264'] }).flatMap(({ kind, codec }) =>
      kind === 'video' ? [codec.payloadType] : [],
    );
    if (opus === undefined || vp8 === undefined) throw new Error('the router has two codecs');
    const present = [opus, { ...vp8, preferredPayloadType: taken }];
    const earlier = { routerCodecs: present };
    const again = publish(twoVideos, { videoCodecs: ['VP8'], earlier });
    expect(routerCodecs(again, present)).toEqual(present);
    const added = publish(twoVideos, { videoCodecs: ['H264'], earlier });
    const [, , h264] = routerCodecs(added, present);
    expect(h264).toMatchObject({ mimeType: 'video/H264' });
    expect(h264?.preferredPayloadType).not.toBe(taken);
  });

  it('may all be gone in a later offer, which keeps the transport', () => {
    const gone = twoVideos.replaceAll(/a=(?:sendonly|sendrecv)/g, 'a=inactive');
    expect(() => publish(gone)).toThrow(SdpError);
    expect(publish(gone, { earlier: { routerCodecs: [] } }).map(({ tag }) => tag)).toEqual([
      'inactive',
      'inactive',
      'inactive',
    ]);
  });
});

describe('sections that carry nothing', () => {
  it('reject a data channel and keep a second camera inactive on the shared transport', () => {
    expect(publish(fixture('chromium-156-publish-data-channel')).map(({ tag }) => tag)).toEqual([
      'receive',
      'receive',
      'rejected',
    ]);
    expect(publish(fixture('chromium-156-publish-two-videos')).map(({ tag }) => tag)).toEqual([
      'receive',
      'receive',
      'inactive',
    ]);
  });

  it('keep the audio of a client whose video has no common codec, and name the video', () => {
    const offer = parseOffer(fixture('firefox-153-publish'));
    const { sections, notCarried } = negotiatePublish(offer, { videoCodecs: ['H264'] });
    expect(sections.map(({ tag }) => tag)).toEqual(['receive', 'inactive']);
    expect(notCarried).toEqual(['video VP8: no common codec']);
    expect(negotiatePublish(offer).notCarried).toEqual([]);
  });

  it('name a second video, and no data channel', () => {
    const notCarried = (name: string) => negotiatePublish(parseOffer(fixture(name))).notCarried;
    expect(notCarried('chromium-156-publish-two-videos')).toEqual(['video VP8: a second video section']);
    expect(notCarried('chromium-156-publish-data-channel')).toEqual([]);
  });

  it('reject a section whose RTCP would come on a port of its own', () => {
    const sdp = videoOffer('96', 'a=rtpmap:96 VP8/90000').replace('a=rtcp-mux\r\n', '');
    expect(() => publish(sdp)).toThrow(SdpError);
    expect(() => publish(sdp)).toThrow(/no rtcp-mux/);
  });
});

describe('refusals', () => {
  it('name both sides when no codec is common', () => {
    const sdp = videoOffer('96 97', 'a=rtpmap:96 VP8/90000', ...h264(97, '42e01f'));
    try {
      publish(sdp, { videoCodecs: ['AV1'] });
      expect.unreachable();
    } catch (error) {
      if (!(error instanceof NoCommonCodecsError)) throw error;
      expect(error).toBeInstanceOf(SdpError);
      expect(error).toMatchObject({
        code: 'no-common-codecs',
        kind: 'video',
        offered: ['VP8', 'H264/42e01f'],
        wanted: ['AV1'],
      });
    }
  });

  it('tell a client that sends nothing from one without codecs', () => {
    expect(() => publish(fixture('chromium-156-play'))).toThrow(expect.objectContaining({ code: 'unsupported' }));
  });

  it('say what to offer when nothing distinguishes audio from video', () => {
    const sdp = strayOffer({ bundled: true, audio: 96, video: 96 });
    expect(() => publish(sdp)).toThrow(
      'Nothing tells audio from video: both have payload type 96 on one transport; offer a=ssrc, the mid header extension or another payload type',
    );
  });
});

/** Audio and video with neither an SSRC nor a header extension. */
const strayOffer = ({ bundled, audio, video }: { bundled: boolean; audio: number; video: number }) =>
  videoOffer(
    `${video} ${video + 1}`,
    ...[`a=rtpmap:${video} VP8/90000`, `a=rtpmap:${video + 1} rtx/90000`, `a=fmtp:${video + 1} apt=${video}`],
    ...['a=mid:v', `m=audio 9 UDP/TLS/RTP/SAVPF ${audio}`, `a=rtpmap:${audio} opus/48000/2`],
    ...['a=mid:a', 'a=rtcp-mux', 'a=sendonly'],
  )
    .replace('a=ssrc:77 cname:me\r\n', '')
    .replace('t=0 0\r\n', bundled ? 't=0 0\r\na=group:BUNDLE v a\r\n' : 't=0 0\r\n');

describe('media without SSRC and mid extension', () => {
  const stray = (options: Parameters<typeof strayOffer>[0]) =>
    received(strayOffer(options)).map(({ kind, isStray, rtx }) => ({ kind, isStray, hasRtx: rtx !== undefined }));
  const both = [
    { kind: 'video', isStray: true, hasRtx: false },
    { kind: 'audio', isStray: true, hasRtx: false },
  ];

  it('are told apart by their transports, or by their payload types', () => {
    expect(stray({ bundled: false, audio: 111, video: 96 })).toEqual(both);
    expect(stray({ bundled: false, audio: 96, video: 96 })).toEqual(both);
    expect(stray({ bundled: true, audio: 111, video: 96 })).toEqual(both);
  });

  it.each(['chromium-156-publish', 'chromium-156-publish-simulcast', 'firefox-153-publish', 'chrome-71-publish'])(
    'are none of those of %s',
    (name) => {
      expect(received(fixture(name)).filter(({ isStray }) => isStray)).toEqual([]);
    },
  );
});
