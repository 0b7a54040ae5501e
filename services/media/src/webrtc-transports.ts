import { ErrorCode, IceTransport, WeirError, type StreamInfo } from '@weir/contracts';
import {
  codecName,
  NoCommonCodecsError,
  routerCodecs,
  SdpError,
  type AnsweredTransport,
  type Offer,
  type PlayableStream,
  type PlaySection,
  type ReceiveSection,
  type SendSection,
  type SentRtp,
  type TwoWaySection,
} from '@weir/sdp';
import type { types as mediasoup } from 'mediasoup';
import { dialectKey } from './dialect.js';
import { produceStray } from './stray-media.js';
import type { Stream } from './stream.js';
import type { MediaWorker, RouterLease } from './worker-pool.js';

/** The answer to a player's first offer. */
export interface Played {
  answerSdp: string;
  codecs: { audio: string; video: string };
  stream: StreamInfo;
  /** Media that the client asks for in vain, for people to read. */
  notCarried: string[];
}

/** A player waits this long for the first pictures, if only they can tell whether the stream needs transcoding. */
export const KNOWN_TIMEOUT_MS = 1_000;

type Sections = readonly (TwoWaySection | PlaySection)[];

export function leaseRouter(worker: MediaWorker, sections: Sections): Promise<RouterLease> {
  const codecs = routerCodecs(sections);
  return worker.leaseRouter(dialectKey(codecs), codecs as mediasoup.RouterRtpCodecCapability[]);
}

/** Makes and connects a transport for each transport of the offer. The caller closes those in `opened`. */
export async function openTransports(
  { router, worker }: RouterLease,
  offer: Offer,
  sections: Sections,
  iceTransport: IceTransport,
  opened: mediasoup.WebRtcTransport[],
): Promise<(mediasoup.WebRtcTransport | undefined)[]> {
  const tcpOnly = iceTransport === IceTransport.TCP;
  return Promise.all(
    offer.transports.map(async ({ dtlsParameters, mediaIndexes }) => {
      if (mediaIndexes.every((index) => sections[index]?.tag === 'rejected')) return undefined;
      const transport = await router.createWebRtcTransport({
        webRtcServer: worker.webRtcServer,
        enableUdp: !tcpOnly,
        enableTcp: true,
        preferUdp: true,
        iceConsentTimeout: 0, // WebRtcPeer listens for more than STUN
        initialAvailableOutgoingBitrate: 2_000_000,
      });
      opened.push(transport);
      worker.transportCount += 1;
      transport.observer.once('close', () => {
        worker.transportCount -= 1;
      });
      await transport.connect({ dtlsParameters: dtlsParameters as mediasoup.DtlsParameters });
      return transport;
    }),
  );
}

/** What an answer says of weir's transports. */
export const announced = (
  worker: MediaWorker,
  transports: readonly (mediasoup.WebRtcTransport | undefined)[],
): (AnsweredTransport | undefined)[] =>
  transports.map(
    (transport) =>
      transport && {
        iceParameters: transport.iceParameters,
        iceCandidates: worker.candidatesOf(transport),
        dtlsParameters: transport.dtlsParameters,
      },
  );

/** Turns an error in an offer into an error of the contract. */
export function refusing<Result>(work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    if (error instanceof NoCommonCodecsError)
      throw new WeirError(ErrorCode.NO_COMMON_CODECS, error.message, {}, { cause: error });
    if (error instanceof SdpError)
      throw new WeirError(ErrorCode.INVALID, error.message, { sdp: error.code }, { cause: error });
    throw error;
  }
}

/** The sections that carry media. */
export const used = (sections: Sections): (ReceiveSection | SendSection)[] =>
  sections.filter((section) => section.tag === 'receive' || section.tag === 'send');

export function codecNames(sections: readonly (ReceiveSection | SendSection)[]): { audio: string; video: string } {
  const name = (kind: 'audio' | 'video') => {
    const section = sections.find((candidate) => candidate.kind === kind);
    return section === undefined ? '' : codecName(section);
  };
  return { audio: name('audio'), video: name('video') };
}

export const playable = (stream: Stream): PlayableStream => {
  const [audio, video] = [stream.track('audio')?.webRtcCodec, stream.track('video')?.webRtcCodec];
  return { ...(audio && { audio }), ...(video && { video }) };
};

export const homeWorkerOf = (stream: Stream): MediaWorker | undefined =>
  (stream.track('video') ?? stream.track('audio'))?.homeWorker;

/**
 * Key frame requests within this time become one request, so that many joining players cost few key frames. It is
 * longer than the 300 ms for which Chromium ignores a second request, because an ignored request is repeated only after
 * a second.
 */
const KEY_FRAME_REQUEST_DELAY_MS = 400;

/** The producer of what a client sends in a section. That of stray media is there when their first packets have come. */
export const produce = (
  transport: mediasoup.WebRtcTransport,
  { kind, rtpParameters, isStray }: ReceiveSection,
  { worker }: RouterLease,
): Promise<mediasoup.Producer> => {
  const options: mediasoup.ProducerOptions = {
    kind,
    rtpParameters: rtpParameters as mediasoup.RtpParameters,
    keyFrameRequestDelay: KEY_FRAME_REQUEST_DELAY_MS,
  };
  return isStray ? produceStray(worker.worker, transport, options) : transport.produce(options);
};

export const consume = (
  transport: mediasoup.WebRtcTransport,
  producerId: string,
  section: SendSection,
  paused = false,
): Promise<mediasoup.Consumer> =>
  transport.consume({
    producerId,
    paused,
    rtpCapabilities: section.rtpCapabilities as mediasoup.RtpCapabilities,
    // This makes mediasoup keep packets to send them again when the player asks for them by NACK.
    enableRtx: section.kind === 'video',
  });

/** @param streamName of the MediaStream that the player gets; other characters than letters and digits are left out */
export function sentRtp(consumer: mediasoup.Consumer, streamName: string, section: SendSection): SentRtp {
  const ssrc = consumer.rtpParameters.encodings?.[0]?.ssrc;
  if (ssrc === undefined) throw new Error('mediasoup gave a consumer no SSRC');
  const streamId = streamName.replace(/[^A-Za-z0-9-]/g, '');
  return { ssrc, cname: streamId, streamId, trackId: `${streamId}-${section.kind}` };
}
