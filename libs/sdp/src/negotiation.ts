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

/** The codec of a stream as its publisher negotiated it. It is plain data, so it may be stored and sent. */
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

/** Stays in its BUNDLE group but carries nothing. Needs no producer and no consumer. */
export interface InactiveSection {
  tag: 'inactive';
  mediaIndex: number;
  transportIndex: number;
  /** The format in the answer; if it is undefined, the answer has all formats of the section. */
  codec?: OfferedCodec;
}

/** The client sends and weir receives. */
export interface ReceiveSection {
  tag: 'receive';
  mediaIndex: number;
  /** Index in `Offer.transports`. */
  transportIndex: number;
  kind: MediaKind;
  codec: OfferedCodec;
  rtx?: OfferedCodec;
  /**
   * Its packets carry no mid and their SSRC is unknown, so only the payload type shows which section they belong to.
   */
  isStray: boolean;
  /** For `transport.produce()`; without an SSRC if that is unknown. */
  rtpParameters: RtpParameters;
  /** For `worker.createRouter()`; see `routerCodecs()`. */
  routerCodec: RtpCodecCapability;
  streamCodec: StreamCodec;
  /** How media go back to the client in the same section, if the session has both directions. */
  back?: SendSection;
}

/** weir sends and the client receives. */
export interface SendSection {
  tag: 'send';
  mediaIndex: number;
  transportIndex: number;
  kind: MediaKind;
  codec: OfferedCodec;
  /** Which of the played streams it carries. */
  streamIndex: number;
  /** The stream's codec with the player's payload type, for the router that the player's transport is on. */
  routerCodec: RtpCodecCapability;
  /** For `transport.consume()` with `enableRtx: kind === 'video'`; otherwise mediasoup drops NACK. */
  rtpCapabilities: RtpCapabilities;
}

export type PublishSection = ReceiveSection | InactiveSection | RejectedSection;
export type PlaySection = SendSection | InactiveSection | RejectedSection;

/** The codec's name in the contract: `opus`, `H264`, `VP8`. */
export function codecName(section: { codec: OfferedCodec } | { mimeType: string }): string {
  return 'codec' in section ? section.codec.name : (section.mimeType.split('/')[1] ?? '');
}

/**
 * The router's media codecs for these sections, in addition to those that it has. Audio comes first, because mediasoup
 * gives each video codec's RTX the first free dynamic payload type and then fails on a later codec that wants the same
 * one.
 */
export function routerCodecs(
  sections: readonly (PublishSection | PlaySection)[],
  present: readonly RtpCodecCapability[] = [],
): RtpCodecCapability[] {
  const needed = sections.flatMap((section) =>
    section.tag === 'receive' || section.tag === 'send' ? [section.routerCodec] : [],
  );
  const byPayloadType = new Map([...present, ...needed].map((codec) => [codec.preferredPayloadType, codec]));
  return [...byPayloadType.values()].sort((a, b) => a.kind.localeCompare(b.kind));
}

/** Whether the section's RTCP uses its RTP port, which mediasoup requires. BUNDLE implies it. */
export function hasMuxedRtcp(offer: Offer, media: OfferedMedia): boolean {
  return (
    media.rtcpMux || (media.transportIndex !== undefined && offer.transports[media.transportIndex]?.bundled === true)
  );
}

/**
 * The answer to a section that carries nothing: inactive if another media section uses its transport anyway, and
 * rejected otherwise. The section whose mid is the tag of a BUNDLE group in use is never rejected, not even a data
 * channel, because it describes the transport of the other sections (RFC 8843 §7.3.3).
 */
export function idleSection(
  offer: Offer,
  media: OfferedMedia,
  used: readonly { transportIndex: number }[],
  reason: string,
): InactiveSection | RejectedSection {
  const transportIndex = bundleTransport(offer, media) ?? media.transportIndex;
  const codec = media.codecs.find(({ name }) => isCodecName(name)) ?? media.codecs[0];
  const isKept =
    transportIndex !== undefined &&
    used.some((section) => section.transportIndex === transportIndex) &&
    (isBundleTag(offer, media) || (media.kind !== 'other' && codec !== undefined && isCodecName(codec.name)));
  if (!isKept) return { tag: 'rejected', mediaIndex: media.index, reason };
  return { tag: 'inactive', mediaIndex: media.index, transportIndex, ...(codec ? { codec } : {}) };
}

/** Rejects the section, unless it is the tag of a BUNDLE group and has to stay. */
export function refusedSection(
  offer: Offer,
  media: OfferedMedia,
  used: readonly { transportIndex: number }[],
  reason: string,
): InactiveSection | RejectedSection {
  return isBundleTag(offer, media)
    ? idleSection(offer, media, used, reason)
    : { tag: 'rejected', mediaIndex: media.index, reason };
}

function isBundleTag(offer: Offer, media: OfferedMedia): boolean {
  return offer.bundleGroups.some((mids) => {
    const tag = mids.find((mid) => offer.media.some((section) => section.mid === mid && section.enabled));
    return tag !== undefined && tag === media.mid;
  });
}

/** The transport of the section's BUNDLE group, even if the section isn't media. */
function bundleTransport(offer: Offer, media: OfferedMedia): number | undefined {
  const mids = offer.bundleGroups.find((group) => media.mid !== undefined && group.includes(media.mid));
  return offer.media.find(
    ({ mid, transportIndex }) => mid !== undefined && mids?.includes(mid) && transportIndex !== undefined,
  )?.transportIndex;
}
