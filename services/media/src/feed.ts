import { create } from '@bufbuild/protobuf';
import {
  CodecsSchema,
  ErrorCode,
  WeirError,
  type FeedTrack,
  type IngestRequest,
  type StreamInfo,
} from '@weir/contracts';
import type { StreamCodec } from '@weir/sdp';
import type { types as mediasoup } from 'mediasoup';
import type { MediaCore } from './core.js';
import { dialectKey } from './dialect.js';
import type { SessionNotifier } from './notifier.js';
import { FeedLink } from './peer.js';
import { ProducedTrack } from './produced-track.js';
import type { RtpActivityRules } from './rtp-activity.js';
import { PublisherSession } from './session.js';
import { producerOptionsOf, routerCodecOf } from './track.js';
import { StreamTranscoder } from './transcoder.js';
import { MEDIA_SOCKET_BUFFERS } from './worker-pool.js';

export interface FeedOptions {
  core: MediaCore;
  notifier: SessionNotifier;
  /** The address at which other services of the platform reach this node. */
  internalAddress: string;
  noMediaTimeoutMs: number;
  /** Without these rules every track is checked. */
  rtpActivity?: RtpActivityRules | undefined;
}

/**
 * Publishes the RTP that another service of the platform sends. Returns the addresses for it, one for each track.
 * `info` gets the tracks' codecs.
 */
export async function openFeed(
  request: IngestRequest,
  info: StreamInfo,
  tracks: readonly FeedTrack[],
  options: FeedOptions,
): Promise<{ ip: string; port: number }[]> {
  const { core, notifier, internalAddress, noMediaTimeoutMs, rtpActivity } = options;
  const codecs = tracks.map(feedCodec);
  if (codecs.length === 0 || codecs.length > 2) throw new WeirError(ErrorCode.INVALID, 'a feed has one or two tracks');
  info.codecs = create(CodecsSchema, {
    audio: codecs.find(({ kind }) => kind === 'audio')?.name ?? '',
    video: codecs.find(({ kind }) => kind === 'video')?.name ?? '',
  });
  const router = codecs.map(({ routerCodec }) => routerCodec);
  const home = await core.pickWorker().leaseRouter(
    dialectKey(router),
    router.toSorted((a, b) => a.kind.localeCompare(b.kind)),
  );
  const transports: mediasoup.PlainTransport[] = [];
  try {
    const produced: ProducedTrack[] = [];
    const { transcoders } = core;
    const cname = request.sessionId;
    const transcoder = new StreamTranscoder({ transcoders, tracks: () => produced, cname, info });
    for (const [index, { streamCodec, payloadType, ssrc }] of codecs.entries()) {
      const transport = await home.router.createPlainTransport({
        listenInfo: { protocol: 'udp', ip: internalAddress, ...MEDIA_SOCKET_BUFFERS },
        rtcpMux: true,
        comedia: true,
      });
      transports.push(transport);
      const producer = await transport.produce(
        producerOptionsOf(
          streamCodec,
          { payloadType, ssrc: ssrc || 1_000 + index, cname },
          streamCodec.kind === 'video' ? [{ type: 'nack', parameter: 'pli' }] : [],
        ),
      );
      produced.push(new ProducedTrack(streamCodec, producer, home, transcoder));
    }
    const identity = { sessionId: request.sessionId, ownerId: request.ownerId, statsIntervalMs: 0 };
    const session: PublisherSession = new PublisherSession({
      identity,
      notifier,
      home,
      streamName: request.streamName,
      noMediaTimeoutMs,
      rtpActivity,
      onClosed: () => core.forget(session),
    });
    session.link = new FeedLink(transports, () => session.onConnected());
    core.assertFreshId(identity.sessionId);
    await core.claim(info, request.claim);
    core.addSession(session);
    session.publish({ tracks: produced, transcoder }, (source) => core.openStream(info, source, source));
    return transports.map(({ tuple }) => ({ ip: internalAddress, port: tuple.localPort }));
  } catch (error) {
    for (const transport of transports) transport.close();
    home.release();
    throw error;
  }
}

const FEED_CODECS: Readonly<Record<string, StreamCodec>> = {
  opus: { kind: 'audio', mimeType: 'audio/opus', clockRate: 48_000, channels: 2, parameters: { useinbandfec: 1 } },
  PCMU: { kind: 'audio', mimeType: 'audio/PCMU', clockRate: 8_000, channels: 1, parameters: {} },
  PCMA: { kind: 'audio', mimeType: 'audio/PCMA', clockRate: 8_000, channels: 1, parameters: {} },
  G722: { kind: 'audio', mimeType: 'audio/G722', clockRate: 8_000, channels: 1, parameters: {} },
  VP8: { kind: 'video', mimeType: 'video/VP8', clockRate: 90_000, parameters: {} },
  VP9: { kind: 'video', mimeType: 'video/VP9', clockRate: 90_000, parameters: { 'profile-id': 0 } },
  H264: {
    kind: 'video',
    mimeType: 'video/H264',
    clockRate: 90_000,
    parameters: { 'packetization-mode': 1, 'level-asymmetry-allowed': 1, 'profile-level-id': '42e01f' },
  },
};

function feedCodec({ track, payloadType, ssrc }: FeedTrack) {
  const name = track?.codec ?? '';
  const known = FEED_CODECS[name];
  if (known === undefined || payloadType < 0 || payloadType > 127)
    throw new WeirError(ErrorCode.NO_COMMON_CODECS, `a feed carries ${Object.keys(FEED_CODECS).join(', ')}`, {
      codec: name,
    });
  const profile = track?.parameters['profile-level-id'];
  const streamCodec: StreamCodec =
    name === 'H264' && profile !== undefined && /^[0-9a-fA-F]{6}$/.test(profile)
      ? { ...known, parameters: { ...known.parameters, 'profile-level-id': profile } }
      : known;
  const routerCodec = routerCodecOf(streamCodec, payloadType);
  return { name, kind: streamCodec.kind, streamCodec, payloadType, ssrc, routerCodec };
}
