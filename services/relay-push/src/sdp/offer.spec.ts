import { parse } from 'sdp-transform';
import { describe, expect, it } from 'vitest';
import { RECEIVED_CODECS } from '../codecs.js';
import { writeOffer, type LocalTransport } from './offer.js';

const transport = (port: number): LocalTransport => ({
  usernameFragment: 'abcdef',
  password: 'secretsecretsecretsecret',
  fingerprint: 'AB:CD',
  candidates: [{ foundation: 'f', priority: 5, address: '192.0.2.1', port, type: 'host' }],
});

describe('an offer', () => {
  const sdp = writeOffer({
    originId: '12',
    sections: [
      { kind: 'audio', direction: 'recvonly', codecs: RECEIVED_CODECS.audio, transport: transport(4_000) },
      {
        ...{ kind: 'video', direction: 'sendonly', codecs: RECEIVED_CODECS.video, transport: transport(4_002) },
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
