import { once } from 'node:events';
import { connect } from 'node:net';
import { requestsOn } from '../src/rtsp-pusher.js';
import type { KnownTrack } from './known-media.js';
import { KnownPackets } from './known-packets.js';
import type { Connection } from './known-source.js';

/** A codec's lines in an SDP. */
const DESCRIPTIONS = {
  H264: (payloadType: number, { parameterSets }: KnownTrack) => {
    const sets = parameterSets.map((set) => Buffer.from(set).toString('base64')).join(',');
    return [
      ...[`m=video 0 RTP/AVP ${payloadType}`, `a=rtpmap:${payloadType} H264/90000`],
      `a=fmtp:${payloadType} packetization-mode=1;sprop-parameter-sets=${sets}`,
    ];
  },
  // 1188: AAC-LC with 48 kHz and one channel.
  AAC: (payloadType: number) => [
    ...[`m=audio 0 RTP/AVP ${payloadType}`, `a=rtpmap:${payloadType} mpeg4-generic/48000/1`],
    `a=fmtp:${payloadType} streamtype=5;mode=AAC-hbr;config=1188;sizelength=13;indexlength=3;indexdeltalength=3`,
  ],
} as const;

/** Pushes a stream by RTSP over TCP. */
export async function pushByRtsp(url: string, tracks: readonly KnownTrack[]): Promise<Connection> {
  const { hostname, port } = new URL(url.replace(/^rtsp:/, 'http:'));
  const [base = url] = url.split('?');
  const socket = connect(Number(port), hostname);
  let isLost = false;
  socket.setNoDelay(true);
  socket.on('error', () => undefined); // `close` follows
  socket.on('close', () => {
    isLost = true;
  });
  try {
    await once(socket, 'connect', { signal: AbortSignal.timeout(2_000) });
    const ask = requestsOn(socket);
    const sections = tracks.flatMap((track, index) => {
      const lines = track.codec === 'AAC' ? DESCRIPTIONS.AAC(96 + index) : DESCRIPTIONS.H264(96 + index, track);
      return [...lines, `a=control:trackID=${index}`];
    });
    await ask('ANNOUNCE', url, {
      body: ['v=0', 'o=- 1 1 IN IP4 0.0.0.0', 's=camera', 't=0 0', ...sections, ''].join('\r\n'),
    });
    for (const index of tracks.keys())
      await ask('SETUP', `${base}/trackID=${index}`, {
        transport: `RTP/AVP/TCP;unicast;interleaved=${2 * index}-${2 * index + 1};mode=record`,
      });
    await ask('RECORD', url);
  } catch (error) {
    socket.destroy();
    throw error;
  }
  socket.resume();
  const packets = tracks.map((track, index) => new KnownPackets(track, 96 + index));
  return {
    get isLost() {
      return isLost;
    },
    send: (track, frame, rtpTimestamp) => {
      for (const packet of packets[track]?.of(frame, rtpTimestamp) ?? []) {
        const header = Buffer.alloc(4);
        header.writeUInt8(0x24, 0);
        header.writeUInt8(2 * track, 1);
        header.writeUInt16BE(packet.length, 2);
        if (!isLost) socket.write(Buffer.concat([header, packet]));
      }
    },
    close: () => socket.destroy(),
  };
}
