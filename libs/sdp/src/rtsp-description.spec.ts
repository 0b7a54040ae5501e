import { Buffer } from 'node:buffer';
import { describe, expect, it } from 'vitest';
import {
  parseRtspDescription,
  type SdpTrack,
  type TrackDescription,
  writeRtspDescription,
} from './rtsp-description.js';

function tracksOf(lines: readonly string[]): readonly SdpTrack[] {
  const sdp = parseRtspDescription(lines.join('\r\n'));
  if (sdp.tag === 'malformed') throw new Error(sdp.detail);
  return sdp.tracks;
}

function onlyTrack(lines: readonly string[]): SdpTrack {
  const [track, ...others] = tracksOf(lines);
  if (!track || others.length > 0) throw new Error('not one track');
  return track;
}

describe('an SDP', () => {
  it('is read as ffmpeg announces it', () => {
    const sdp = parseRtspDescription(`v=0
o=- 0 0 IN IP4 127.0.0.1
s=No Name
c=IN IP4 127.0.0.1
t=0 0
a=tool:libavformat LIBAVFORMAT_VERSION
m=video 0 RTP/AVP 96
a=rtpmap:96 H264/90000
a=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z0LADdoFB+wEQAAAAwBAAAAMo8UKqA==,aM4PyA==; profile-level-id=42C00D
a=control:streamid=0
m=audio 0 RTP/AVP 97
b=AS:64
a=rtpmap:97 MPEG4-GENERIC/48000/1
a=fmtp:97 profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3; config=118856E500
a=control:streamid=1
`);
    expect(sdp).toMatchObject({
      tag: 'description',
      sessionName: 'No Name',
      control: undefined,
      tracks: [
        {
          kind: 'video',
          payloadType: 96,
          clockRateHz: 90000,
          channels: undefined,
          control: 'streamid=0',
          format: {
            codec: 'h264',
            packetizationMode: 1,
            profileLevelId: '42c00d',
            sps: [Buffer.from('Z0LADdoFB+wEQAAAAwBAAAAMo8UKqA==', 'base64')],
            pps: [Buffer.from('aM4PyA==', 'base64')],
          },
        },
        {
          kind: 'audio',
          payloadType: 97,
          clockRateHz: 48000,
          channels: 1,
          control: 'streamid=1',
          format: { codec: 'aac', config: Buffer.from('118856e500', 'hex'), sizeLength: 13, indexLength: 3 },
        },
      ],
    });
  });

  it('has static payload types without rtpmap', () => {
    const tracks = tracksOf([
      'm=audio 0 RTP/AVP 8',
      'm=audio 0 RTP/AVP 0',
      'm=video 0 RTP/AVP 26',
      'm=audio 0 RTP/AVP 10',
    ]);
    expect(tracks.map(({ format, clockRateHz, channels }) => [format, clockRateHz, channels])).toEqual([
      [{ codec: 'pcma' }, 8000, 1],
      [{ codec: 'pcmu' }, 8000, 1],
      [{ codec: 'other', encodingName: 'JPEG', parameters: new Map() }, 90000, undefined],
      [{ codec: 'other', encodingName: 'L16', parameters: new Map() }, 44100, 2],
    ]);
  });

  it('offers the first codec that weir knows, else the first', () => {
    const known = onlyTrack(['m=video 0 RTP/AVP 97 96', 'a=rtpmap:97 rtx/90000', 'a=rtpmap:96 VP8/90000']);
    expect([known.payloadType, known.format.codec]).toEqual([96, 'vp8']);
    const unknown = onlyTrack(['m=video 0 RTP/AVP 97 98', 'a=rtpmap:97 theora/90000', 'a=rtpmap:98 dirac/90000']);
    expect(unknown.format).toEqual({ codec: 'other', encodingName: 'theora', parameters: new Map() });
    expect(onlyTrack(['m=application 0 TCP/X *']).format).toEqual({
      codec: 'other',
      encodingName: '',
      parameters: new Map(),
    });
  });

  it.each([
    ['empty parameter sets', 'sprop-parameter-sets=,Z0LADQ==,,aM4PyA==,', [4], [4]],
    [
      'start codes',
      `sprop-parameter-sets=${Buffer.from('0000000167420000', 'hex').toString('base64')},${Buffer.from('00000168ce0f', 'hex').toString('base64')}`,
      [4],
      [3],
    ],
    ['several of a kind', 'sprop-parameter-sets=Z0LADQ==,aM4PyA==,aM4PyQ==', [4], [4, 4]],
    ['what is no base64', 'sprop-parameter-sets=!!,??', [], []],
    ['none', 'packetization-mode=0', [], []],
  ])('of H.264 with %s', (_name, fmtp, spsBytes, ppsBytes) => {
    const { format } = onlyTrack(['m=video 0 RTP/AVP 96', 'a=rtpmap:96 h264/90000', `a=fmtp:96 ${fmtp}`]);
    if (format.codec !== 'h264') throw new Error(format.codec);
    expect([format.sps.map(({ length }) => length), format.pps.map(({ length }) => length)]).toEqual([
      spsBytes,
      ppsBytes,
    ]);
  });

  it('of AAC at low rate has other fields, and a broken config is none', () => {
    const aac = (fmtp: string): unknown =>
      onlyTrack(['m=audio 0 RTP/AVP 97', 'a=rtpmap:97 mpeg4-generic/8000', `a=fmtp:97 ${fmtp}`]).format;
    expect(aac('mode=AAC-lbr;config=1588')).toMatchObject({ sizeLength: 6, indexLength: 2, indexDeltaLength: 2 });
    expect(aac('sizeLength=16; indexLength=0; config="1210"')).toMatchObject({
      sizeLength: 16,
      indexLength: 0,
      config: Buffer.from([0x12, 0x10]),
    });
    expect(aac('config=12x0;sizelength=99')).toMatchObject({ sizeLength: 13, config: Buffer.alloc(0) });
  });

  it('may have a back channel', () => {
    const tracks = tracksOf([
      'm=video 0 RTP/AVP 96',
      'a=recvonly',
      'm=audio 0 RTP/AVP 0',
      'a=sendonly',
      'm=audio 0 RTP/AVP 8',
      'a=sendrecv',
    ]);
    expect(tracks.map(({ direction }) => direction)).toEqual(['receive', 'send', 'both']);
  });

  it('is read without its first lines, with any line end and with junk', () => {
    for (const end of ['\n', '\r\n', '\r']) {
      const sdp = parseRtspDescription(
        [
          'junk',
          'a=control:rtsp://h/all',
          'm=audio 0 RTP/AVP 0',
          '',
          'a=',
          'a=rtpmap:x',
          '=',
          'a=control: trackID=1 ',
        ].join(end),
      );
      expect(sdp).toMatchObject({ tag: 'description', control: 'rtsp://h/all', tracks: [{ control: 'trackID=1' }] });
    }
  });

  it.each([
    ['a media line without port', 'm=video RTP/AVP 96'],
    ['too many lines', 'a=x\n'.repeat(2000)],
    ['too many media', 'm=video 0 RTP/AVP 96\n'.repeat(17)],
  ])('is malformed with %s', (_name, text) => {
    expect(parseRtspDescription(text).tag).toBe('malformed');
  });
});

describe('a written SDP', () => {
  const sets = { sps: [Buffer.from('6742c00dda05', 'hex')], pps: [Buffer.from('68ce0fc8', 'hex')] };
  const vps = [Buffer.from('40010c01', 'hex')];
  const tracks: readonly TrackDescription[] = [
    {
      kind: 'video',
      payloadType: 96,
      clockRateHz: 90000,
      channels: undefined,
      format: { codec: 'h264', packetizationMode: 1, profileLevelId: '42c00d', ...sets },
    },
    {
      kind: 'video',
      payloadType: 97,
      clockRateHz: 90000,
      channels: undefined,
      format: { codec: 'h265', vps, ...sets },
    },
    {
      kind: 'audio',
      payloadType: 98,
      clockRateHz: 48000,
      channels: 1,
      format: { codec: 'aac', config: Buffer.from([0x11, 0x88]), sizeLength: 13, indexLength: 3, indexDeltaLength: 3 },
    },
    { kind: 'audio', payloadType: 99, clockRateHz: 48000, channels: 2, format: { codec: 'opus', stereo: true } },
    { kind: 'audio', payloadType: 0, clockRateHz: 8000, channels: 1, format: { codec: 'pcmu' } },
    { kind: 'audio', payloadType: 8, clockRateHz: 8000, channels: 1, format: { codec: 'pcma' } },
    { kind: 'video', payloadType: 100, clockRateHz: 90000, channels: undefined, format: { codec: 'vp8' } },
    {
      kind: 'video',
      payloadType: 101,
      clockRateHz: 90000,
      channels: undefined,
      format: { codec: 'vp9', profileId: 0 },
    },
    {
      kind: 'audio',
      payloadType: 102,
      clockRateHz: 44100,
      channels: 2,
      format: { codec: 'other', encodingName: 'L16', parameters: new Map() },
    },
  ];

  it('is read back as it was', () => {
    const text = writeRtspDescription({ sessionId: '1', sessionVersion: 1, sessionName: 'lab/cam', tracks });
    expect(parseRtspDescription(text)).toMatchObject({
      tag: 'description',
      sessionName: 'lab/cam',
      control: '*',
      tracks: tracks.map((track, index) => ({ ...track, control: `trackID=${index}` })),
    });
  });

  it('says the profile of its parameter set, not another', () => {
    const format = { codec: 'h264', packetizationMode: 1, profileLevelId: '640028', ...sets } as const;
    const [first] = tracks;
    const text = writeRtspDescription({
      sessionId: '1',
      sessionVersion: 1,
      sessionName: '',
      tracks: first ? [{ ...first, format }] : [],
    });
    expect(text).toContain(
      'a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0LADdoF,aM4PyA==;profile-level-id=42c00d\r\n',
    );
    expect(text).toContain('s=-\r\n');
  });

  it('does without parameter sets that it does not have', () => {
    const [first] = tracks;
    const format = { codec: 'h265', vps: [], sps: [], pps: [] } as const;
    const text = writeRtspDescription({
      sessionId: '1',
      sessionVersion: 1,
      sessionName: 'x',
      tracks: first ? [{ ...first, format }] : [],
    });
    expect(text).not.toContain('a=fmtp');
  });
});
