import type { InactiveSection, ReceiveSection, RejectedSection, SendSection } from './negotiation.js';
import type { Offer } from './offer.js';
import type { DtlsFingerprint, IceCandidate, IceParameters } from './rtp-parameters.js';
import { SdpError } from './sdp-error.js';

/** Our end of a transport: mediasoup's WebRtcTransport has these fields. */
export interface AnsweredTransport {
  iceParameters: IceParameters;
  iceCandidates: readonly IceCandidate[];
  dtlsParameters: { fingerprints: readonly DtlsFingerprint[] };
}

/** What we send, as the consumer has it. */
export interface SentRtp {
  ssrc: number;
  cname: string;
  /** The MediaStream both media of a player belong to: the same for audio and video. */
  streamId: string;
  trackId: string;
}

export type AnswerSection = ReceiveSection | InactiveSection | RejectedSection | (SendSection & { sent: SentRtp });

export interface AnswerOptions {
  offer: Offer;
  /** By index of `offer.transports`. May be undefined where all of a transport's sections are rejected. */
  transports: readonly (AnsweredTransport | undefined)[];
  /** One per m-line, in order. */
  sections: readonly AnswerSection[];
  /** Bits per second; 0 or undefined is unset. Told to a publisher's video encoder. */
  bitrate?: { minBps?: number; maxBps?: number };
  /** The o-line's session id: a number of up to 19 digits. */
  originId: string | number;
}

/** The answer, lines ended by CRLF. */
export function writeAnswer(options: AnswerOptions): string {
  throw new SdpError('unsupported', `Not written yet: ${options.originId}`);
}
