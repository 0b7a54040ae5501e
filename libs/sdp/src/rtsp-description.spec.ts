import { Buffer } from 'node:buffer';
import { describe, expect, it } from 'vitest';
import { type AnnouncedTrack, parseRtspDescription, type SdpTrack, writeRtspDescription } from './rtsp-description.js';

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

/** The fmtp line in weir's announcement of a track that was read with these parameters. */
function announced(kind: 'audio' | 'video', rtpmap: string, fmtp: string): string {
  const track = onlyTrack([`m=${kind} 0 RTP/AVP 96`, `a=rtpmap:96 ${rtpmap}`, `a=fmtp:96 ${fmtp}`]);
  const tracks = [{ ...track, kind }];
  const text = writeRtspDescription({ sessionId: '1', sessionVersion: 1, sessionName: '', tracks });
  return /^a=fmtp:96 (.*)\r$/m.exec(text)?.[1] ?? '';
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
          codec: 'H264',
          clockRate: 90000,
          channels: 0,
          control: 'streamid=0',
          parameters: {
            'packetization-mode': '1',
            'profile-level-id': '42C00D',
            'sprop-parameter-sets': 'Z0LADdoFB+wEQAAAAwBAAAAMo8UKqA==,aM4PyA==',
          },
        },
        {
          kind: 'audio',
          payloadType: 97,
          codec: 'MPEG4-GENERIC',
          clockRate: 48000,
          channels: 1,
          control: 'streamid=1',
          parameters: { config: '118856E500', sizelength: '13', indexlength: '3' },
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
    expect(tracks.map(({ codec, clockRate, channels }) => [codec, clockRate, channels])).toEqual([
      ['PCMA', 8000, 1],
      ['PCMU', 8000, 1],
      ['JPEG', 90000, 0],
      ['L16', 44100, 2],
    ]);
  });

  it('offers the first codec that weir knows, else the first', () => {
    const known = onlyTrack(['m=video 0 RTP/AVP 97 96', 'a=rtpmap:97 rtx/90000', 'a=rtpmap:96 VP8/90000']);
    expect([known.payloadType, known.codec]).toEqual([96, 'VP8']);
    const unknown = onlyTrack(['m=video 0 RTP/AVP 97 98', 'a=rtpmap:97 theora/90000', 'a=rtpmap:98 dirac/90000']);
    expect(unknown).toMatchObject({ codec: 'THEORA', parameters: {} });
    expect(onlyTrack(['m=application 0 TCP/X *'])).toMatchObject({ kind: 'other', codec: '', parameters: {} });
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
    const told = /sprop-parameter-sets=([^;]*)/.exec(announced('video', 'h264/90000', fmtp))?.[1] ?? '';
    const units = told.split(',').map((unit) => Buffer.from(unit, 'base64'));
    const sizesOf = (type: number) =>
      units.filter(([first = 0]) => (first & 0x1f) === type).map(({ length }) => length);
    expect([sizesOf(7), sizesOf(8)]).toEqual([spsBytes, ppsBytes]);
  });

  it('of AAC at a low rate has other field sizes, and a broken config is left out', () => {
    const aac = (fmtp: string) => announced('audio', 'mpeg4-generic/8000', fmtp);
    expect(aac('mode=AAC-lbr;config=1588')).toContain('sizelength=6;indexlength=2;indexdeltalength=2;config=1588');
    expect(aac('sizeLength=16; indexLength=0; config="1210"')).toMatch(/sizelength=16;indexlength=0;.*;config=1210$/);
    expect(aac('config=12x0;sizelength=99')).toMatch(/sizelength=13;indexlength=3;indexdeltalength=3$/);
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
  const sets = 'Z0LADdoF,aM4PyA==';
  const video = { kind: 'video', clockRate: 90_000, channels: 0 } as const;
  const audio = { kind: 'audio', clockRate: 8_000, channels: 1 } as const;
  const h264 = { 'packetization-mode': '1', 'sprop-parameter-sets': sets, 'profile-level-id': '42c00d' };
  const aac = { sizelength: '13', indexlength: '3', indexdeltalength: '3', config: '1188' };
  const tracks: readonly AnnouncedTrack[] = [
    { ...video, codec: 'H264', payloadType: 96, parameters: h264 },
    {
      ...{ ...video, codec: 'H265', payloadType: 97 },
      parameters: { 'sprop-vps': 'QAEMAQ==', 'sprop-sps': 'Z0LADdoF', 'sprop-pps': 'aM4PyA==' },
    },
    { ...audio, codec: 'MPEG4-GENERIC', payloadType: 98, clockRate: 48_000, parameters: aac },
    {
      ...{ ...audio, codec: 'opus', payloadType: 99, clockRate: 48_000, channels: 2 },
      parameters: { 'sprop-stereo': '1' },
    },
    { ...audio, codec: 'PCMU', payloadType: 0, parameters: {} },
    { ...audio, codec: 'PCMA', payloadType: 8, parameters: {} },
    { ...video, codec: 'VP8', payloadType: 100, parameters: {} },
    { ...video, codec: 'VP9', payloadType: 101, parameters: { 'profile-id': '0' } },
    { ...audio, codec: 'L16', payloadType: 102, clockRate: 44_100, channels: 2, parameters: {} },
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

  it('states the profile of its parameter set, not another', () => {
    const parameters = { ...h264, 'profile-level-id': '640028' };
    const [first] = tracks;
    const text = writeRtspDescription({
      sessionId: '1',
      sessionVersion: 1,
      sessionName: '',
      tracks: first ? [{ ...first, parameters }] : [],
    });
    expect(text).toContain(
      'a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0LADdoF,aM4PyA==;profile-level-id=42c00d\r\n',
    );
    expect(text).toContain('s=-\r\n');
  });

  it('does without parameter sets that it does not have', () => {
    const text = writeRtspDescription({
      sessionId: '1',
      sessionVersion: 1,
      sessionName: 'x',
      tracks: [{ ...video, codec: 'H265', payloadType: 97, parameters: {} }],
    });
    expect(text).not.toContain('a=fmtp');
  });
});
