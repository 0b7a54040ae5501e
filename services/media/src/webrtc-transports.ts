import { ErrorCode, IceTransport, WeirError } from '@weir/contracts';
import {
  codecName,
  NoCommonCodecsError,
  routerCodecs,
  SdpError,
  type AnsweredTransport,
  type Offer,
  type PlaySection,
  type PublishSection,
  type ReceiveSection,
  type SendSection,
} from '@weir/sdp';
import type { types as mediasoup } from 'mediasoup';
import { dialectKey } from './dialect.js';
import type { MediaWorker, RouterLease } from './worker-pool.js';

type Sections = readonly (PublishSection | PlaySection)[];

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
