import {
  ErrorCode,
  WeirError,
  type EndReason,
  type RtpAddress,
  type StreamSignal,
  type TapRequest,
} from '@weir/contracts';
import type { TrackDescription } from '@weir/frames';
import type { MediaCore } from './core.js';
import { dialectKey } from './dialect.js';
import type { SessionNotifier } from './notifier.js';
import { sendProducer } from './sent-producer.js';
import type { Session, SessionIdentity, SessionStatsInit } from './session.js';
import type { Stream, StreamListener } from './stream.js';
import {
  descriptionOf,
  trackInfo,
  TRANSCODED_ROUTER_CODECS,
  type LentTrack,
  type SentTrack,
  type Track,
} from './track.js';
import { KNOWN_TIMEOUT_MS } from './webrtc-transports.js';

export interface TapOptions {
  core: MediaCore;
  notifier: SessionNotifier;
}

/** Sends a stream's media to another service of the platform. */
export async function openTap(request: TapRequest, options: TapOptions) {
  const { core } = options;
  core.assertRoom();
  const stream = core.streamOf(request.tenant, request.streamName);
  return stream.use(() => tapStream(request, stream, options));
}

async function tapStream(request: TapRequest, stream: Stream, { core, notifier }: TapOptions) {
  // Sound is useful only together with a picture, so the video's packets of the past are sent first.
  const wanted = [
    { track: stream.track('video'), address: request.video },
    { track: stream.track('audio'), address: request.audio },
  ].flatMap(({ track, address }) => (track === undefined || address === undefined ? [] : [{ track, address }]));
  const sent: { track: Track; description: TrackDescription; sent: SentTrack }[] = [];
  if (request.forWebrtc) await stream.known(KNOWN_TIMEOUT_MS);
  try {
    let after = Promise.resolve();
    for (const { track, address } of wanted) {
      const options = { fromKeyFrame: request.fromKeyFrame, after };
      const isTranscoded = request.forWebrtc && track.needsTranscoding;
      const begun = isTranscoded
        ? await sendTranscoded(core, track, checkedAddress(address))
        : await track.sendTo(checkedAddress(address), options);
      const description = isTranscoded ? descriptionOf(track.webRtcCodec) : track.description;
      sent.push({ track, description, sent: begun });
      after = begun.caughtUp;
    }
    // The stream may have ended meanwhile.
    core.streamOf(request.tenant, request.streamName);
    const session: TapSession = new TapSession({
      identity: { sessionId: request.sessionId, ownerId: request.ownerId, statsIntervalMs: 0 },
      stream,
      sent: sent.map((each) => each.sent),
      notifier,
      onClosed: () => core.forget(session),
    });
    core.addSession(session);
    stream.join(session);
  } catch (error) {
    for (const each of sent) each.sent.close();
    throw error;
  }
  for (const { track } of sent) track.requestKeyFrame();
  return {
    tracks: sent.map(({ description, sent: { payloadType, ssrc } }) => ({
      track: trackInfo(description),
      payloadType,
      ssrc,
    })),
    stream: stream.info,
  };
}

/** Sends the track in the transcoded form that WebRTC players get. */
async function sendTranscoded(
  core: MediaCore,
  track: Track,
  address: { ip: string; port: number },
): Promise<SentTrack> {
  const worker = core.pickWorker(track.homeWorker);
  const lease = await worker.leaseRouter(dialectKey(TRANSCODED_ROUTER_CODECS), TRANSCODED_ROUTER_CODECS);
  let lent: LentTrack | undefined;
  try {
    lent = await track.lend(lease);
    const sent = await sendProducer(lease.router, lent.producerId, address);
    lent.start();
    const { release } = lent;
    return {
      ...sent,
      close: () => {
        sent.close();
        release();
        lease.release();
      },
    };
  } catch (error) {
    lent?.release();
    lease.release();
    throw error;
  }
}

function checkedAddress({ ip, port }: RtpAddress): { ip: string; port: number } {
  if (port < 1 || port > 65_535) throw new WeirError(ErrorCode.INVALID, 'no UDP port', { port: String(port) });
  return { ip, port };
}

interface TapSessionOptions {
  identity: SessionIdentity;
  stream: Stream;
  sent: readonly SentTrack[];
  notifier: SessionNotifier;
  onClosed(session: TapSession): void;
}

/** The session of another service that receives a stream's RTP. */
class TapSession implements Session, StreamListener {
  readonly tag = 'player';
  readonly identity: SessionIdentity;
  readonly stream: Stream;
  readonly connected = true;
  readonly isSilent = false;
  #closed = false;

  constructor(private readonly options: TapSessionOptions) {
    this.identity = options.identity;
    this.stream = options.stream;
  }

  standsOn(): boolean {
    return false; // the session ends with its stream
  }

  end(reason: EndReason): void {
    if (this.#closed) return;
    this.#closed = true;
    this.stream.leave(this);
    for (const track of this.options.sent) track.close();
    this.options.notifier.ended(this.identity, reason, '');
    this.options.onClosed(this);
  }

  onStreamEnded(reason: EndReason): void {
    this.end(reason);
  }

  onVideoSize(width: number, height: number): void {
    this.options.notifier.videoSize(this.identity, width, height);
  }

  onSignal(signal: StreamSignal): void {
    this.options.notifier.signal(this.identity, signal);
  }

  async stats(): Promise<SessionStatsInit> {
    return { sessionId: this.identity.sessionId, videoFps: this.stream.videoFps };
  }
}
