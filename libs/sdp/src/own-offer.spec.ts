import { parse } from 'sdp-transform';
import { describe, expect, it } from 'vitest';
import { writeOffer, type LocalTransport, type OwnCodec } from './own-offer.js';

const transport = (port: number): LocalTransport => ({
  usernameFragment: 'abcdef',
  password: 'secretsecretsecretsecret',
  fingerprint: 'AB:CD',
  candidates: [{ foundation: 'f', priority: 5, address: '192.0.2.1', port, type: 'host' }],
});

const h264 = (payloadType: number, profileLevelId: string): OwnCodec => ({
  ...{ payloadType, name: 'H264', clockRate: 90_000, channels: 1 },
  parameters: { 'level-asymmetry-allowed': '1', 'packetization-mode': '1', 'profile-level-id': profileLevelId },
});

const AUDIO: readonly OwnCodec[] = [
  { payloadType: 111, name: 'opus', clockRate: 48_000, channels: 2, parameters: { minptime: '10', useinbandfec: '1' } },
  { payloadType: 8, name: 'PCMA', clockRate: 8_000, channels: 1, parameters: {} },
];
const VIDEO: readonly OwnCodec[] = [
  ...[h264(102, '42e01f'), h264(103, '42001f'), h264(104, '4d001f'), h264(105, '64001f')],
  { payloadType: 96, name: 'VP8', clockRate: 90_000, channels: 1, parameters: {} },
  { payloadType: 98, name: 'VP9', clockRate: 90_000, channels: 1, parameters: { 'profile-id': '0' } },
];

describe('an offer', () => {
  const sdp = writeOffer({
    originId: '12',
    sections: [
      { kind: 'audio', direction: 'recvonly', codecs: AUDIO, transport: transport(4_000) },
      {
        ...{ kind: 'video', direction: 'sendonly', codecs: VIDEO, transport: transport(4_002) },
        sent: { ssrc: 77, cname: 'me' },
      },
    ],
  });
  const { groups, media } = parse(sdp);

  it('offers BUNDLE, and a transport of its own for each medium', () => {
    expect(groups).toEqual([{ type: 'BUNDLE', mids: 'audio video' }]);
    expect(media.map(({ port, mid, setup, direction, rtcpMux }) => [port, mid, setup, direction, rtcpMux])).toEqual([
      [4_000, 'audio', 'actpass', 'recvonly', 'rtcp-mux'],
      [4_002, 'video', 'actpass', 'sendonly', 'rtcp-mux'],
    ]);
    expect(media.map(({ candidates }) => candidates?.map(({ ip, port }) => [ip, port]))).toEqual([
      [['192.0.2.1', 4_000]],
      [['192.0.2.1', 4_002]],
    ]);
  });

  it('describes its codecs with their parameters and feedback', () => {
    const video = media[1];
    expect(video?.rtp.map(({ codec, payload }) => [codec, payload])).toEqual([
      ['H264', 102],
      ['H264', 103],
      ['H264', 104],
      ['H264', 105],
      ['VP8', 96],
      ['VP9', 98],
    ]);
    expect(video?.fmtp[0]?.config).toBe('level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f');
    expect(video?.rtcpFb?.filter(({ payload }) => payload === 96).map(({ type, subtype }) => [type, subtype])).toEqual([
      ['goog-remb', undefined],
      ['ccm', 'fir'],
      ['nack', undefined],
      ['nack', 'pli'],
    ]);
  });

  it('names the SSRC of what is sent, and none of what is received', () => {
    expect(media.map(({ ssrcs }) => ssrcs?.map(({ id, attribute }) => [id, attribute]))).toEqual([
      undefined,
      [
        [77, 'cname'],
        [77, 'msid'],
      ],
    ]);
  });

  it('ends its lines as RFC 8866 wants them', () => {
    expect(sdp.endsWith('\r\n')).toBe(true);
    expect(sdp.split('\r\n').every((line) => !line.includes('\n') && !line.includes('\r'))).toBe(true);
  });
});
