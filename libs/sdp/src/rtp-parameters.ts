/**
 * RTP parameters in the shape of mediasoup's, so that they can be handed to `transport.produce()`,
 * `transport.consume()` and `worker.createRouter()` as they are.
 */
export type MediaKind = 'audio' | 'video';

/** The values of a codec's fmtp line. Integers are numbers, except for `profile-level-id` and the like. */
export type CodecParameters = Record<string, string | number>;

export interface RtcpFeedback {
  type: string;
  parameter?: string;
}

export interface RtpCodecCapability {
  kind: MediaKind;
  mimeType: string;
  preferredPayloadType: number;
  clockRate: number;
  channels?: number;
  parameters: CodecParameters;
  rtcpFeedback: RtcpFeedback[];
}

export interface RtpCodecParameters {
  mimeType: string;
  payloadType: number;
  clockRate: number;
  channels?: number;
  parameters: CodecParameters;
  rtcpFeedback: RtcpFeedback[];
}

export const ABS_SEND_TIME_URI = 'http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time';

/** The header extensions that are ever negotiated. */
export type HeaderExtensionUri =
  | 'urn:ietf:params:rtp-hdrext:sdes:mid'
  | 'urn:ietf:params:rtp-hdrext:ssrc-audio-level'
  | typeof ABS_SEND_TIME_URI
  | 'http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01'
  | 'https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension';

export interface RtpHeaderExtensionParameters {
  uri: HeaderExtensionUri;
  id: number;
}

export interface RtpEncodingParameters {
  ssrc?: number;
  rtx?: { ssrc: number };
  /** Discontinuous transmission: silence is no sign of a dead sender. */
  dtx?: boolean;
  maxBitrate?: number;
}

export interface RtpParameters {
  mid?: string;
  codecs: RtpCodecParameters[];
  headerExtensions: RtpHeaderExtensionParameters[];
  encodings: RtpEncodingParameters[];
  rtcp: { cname?: string; reducedSize: boolean };
}

export interface RtpCapabilities {
  codecs: RtpCodecCapability[];
  headerExtensions: [];
}

export type DtlsRole = 'client' | 'server';

export interface DtlsFingerprint {
  algorithm: 'sha-1' | 'sha-224' | 'sha-256' | 'sha-384' | 'sha-512';
  /** Upper-case hex pairs joined by colons. */
  value: string;
}

export interface IceParameters {
  usernameFragment: string;
  password: string;
}

export interface IceCandidate {
  foundation: string;
  priority: number;
  address: string;
  protocol: 'udp' | 'tcp';
  port: number;
  type: 'host';
  tcpType?: 'passive';
}
