/**
 * RTP parameters in mediasoup's format, so that they can be passed to `transport.produce()`, `transport.consume()` and
 * `worker.createRouter()` unchanged.
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

/** All header extensions that weir may negotiate. */
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
  /** Discontinuous transmission: silence doesn't mean that the sender is dead. */
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
  /** Pairs of upper-case hex digits separated by colons. */
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
