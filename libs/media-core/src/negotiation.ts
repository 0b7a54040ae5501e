import { isCodecName } from './codec-match.js';
import type { Offer, OfferedCodec, OfferedMedia } from './offer.js';
import type {
  CodecParameters,
  MediaKind,
  RtpCapabilities,
  RtpCodecCapability,
  RtpParameters,
} from './rtp-parameters.js';

export type AudioCodecName = 'opus' | 'PCMU' | 'PCMA' | 'G722';
export type VideoCodecName = 'H264' | 'VP8' | 'VP9' | 'AV1';
export type CodecName = AudioCodecName | VideoCodecName;

/** The codec a stream carries, as its publisher negotiated it. Plain data: may be kept and sent about. */
export interface StreamCodec {
  kind: MediaKind;
  mimeType: string;
  clockRate: number;
  channels?: number;
  parameters: CodecParameters;
}

/** Refused: port 0, outside of BUNDLE. */
export interface RejectedSection {
  tag: 'rejected';
  mediaIndex: number;
  /** For the log. */
  reason: string;
}

/** Stays in its BUNDLE group, carries nothing. Needs no producer and no consumer. */
export interface InactiveSection {
  tag: 'inactive';
  mediaIndex: number;
  kind: MediaKind;
  codec: OfferedCodec;
}

/** The client sends, we receive. */
export interface ReceiveSection {
  tag: 'receive';
  mediaIndex: number;
  /** Into `Offer.transports`. */
  transportIndex: number;
  kind: MediaKind;
  codec: OfferedCodec;
  rtx?: OfferedCodec;
  /** For `transport.produce()`. */
  rtpParameters: RtpParameters;
  /** For `worker.createRouter()`; see `routerCodecs()`. */
  routerCodec: RtpCodecCapability;
  streamCodec: StreamCodec;
}

/** We send, the client receives. */
export interface SendSection {
  tag: 'send';
  mediaIndex: number;
  transportIndex: number;
  kind: MediaKind;
  codec: OfferedCodec;
  /** The stream's codec with the player's payload type: for the router that the player's transport lives on. */
  routerCodec: RtpCodecCapability;
  /** For `transport.consume()`, together with `enableRtx: kind === 'video'`, else mediasoup drops NACK. */
  rtpCapabilities: RtpCapabilities;
}

export type PublishSection = ReceiveSection | InactiveSection | RejectedSection;
export type PlaySection = SendSection | InactiveSection | RejectedSection;

/** The codec's name as the contract has it: `opus`, `H264`, `VP8`. */
export function codecName(section: { codec: OfferedCodec } | { mimeType: string }): string {
  return 'codec' in section ? section.codec.name : (section.mimeType.split('/')[1] ?? '');
}

/**
 * The media codecs of the router for these sections: audio first, because mediasoup gives each video codec's RTX the
 * first dynamic payload type that is still free and then fails on a later codec that wants the same.
 */
export function routerCodecs(sections: readonly (PublishSection | PlaySection)[]): RtpCodecCapability[] {
  const codecs = sections.flatMap((section) =>
    section.tag === 'receive' || section.tag === 'send' ? [section.routerCodec] : [],
  );
  return codecs.sort((a, b) => a.kind.localeCompare(b.kind));
}

/** Whether the section's RTCP comes on its RTP port: mediasoup has no other. BUNDLE implies it. */
export function hasMuxedRtcp(offer: Offer, media: OfferedMedia): boolean {
  return (
    media.rtcpMux || (media.transportIndex !== undefined && offer.transports[media.transportIndex]?.bundled === true)
  );
}

/**
 * The answer to a section that carries nothing: inactive where its transport is there anyway, because some media
 * section next to it is in use, else rejected.
 */
export function idleSection(
  media: OfferedMedia,
  used: readonly { transportIndex: number }[],
  reason: string,
): InactiveSection | RejectedSection {
  const rejected: RejectedSection = { tag: 'rejected', mediaIndex: media.index, reason };
  if (media.kind === 'other' || !used.some((section) => section.transportIndex === media.transportIndex))
    return rejected;
  const codec = media.codecs.find(({ name }) => isCodecName(name));
  return codec ? { tag: 'inactive', mediaIndex: media.index, kind: media.kind, codec } : rejected;
}
