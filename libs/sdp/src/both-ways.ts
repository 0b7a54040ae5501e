import { CODECS, pickParameters, publishCandidates } from './codec-match.js';
import {
  codecName,
  hasMuxedRtcp,
  type CodecName,
  type PlaySection,
  type PublishSection,
  type ReceiveSection,
  type SendSection,
  type StreamCodec,
} from './negotiation.js';
import type { Offer, OfferedMedia } from './offer.js';
import { sendSection } from './play.js';
import { DEFAULT_AUDIO_CODECS, DEFAULT_VIDEO_CODECS, negotiatePublish, type PublishPreferences } from './publish.js';
import type { HeaderExtensionUri, MediaKind } from './rtp-parameters.js';

const MID_URI: HeaderExtensionUri = 'urn:ietf:params:rtp-hdrext:sdes:mid';

export type TwoWaySection = PublishSection | SendSection;

/**
 * For a client that sends and receives on one connection, where what it will receive isn't there yet. Each medium that
 * the client wants to receive gets the codec in which it sends, or the best common one if it sends none; it goes to the
 * first section of its kind. Otherwise this is `negotiatePublish`, but the client need not send anything.
 * @throws NoCommonCodecsError, SdpError as `negotiatePublish`
 */
export function negotiateBothWays(
  offer: Offer,
  preferences: PublishPreferences = {},
): { sections: TwoWaySection[]; notCarried: string[] } {
  const { sections, notCarried } = negotiatePublish(offer, { earlier: { routerCodecs: [] }, ...preferences });
  const back: SendSection[] = [];
  const twoWay = sections.map((section): TwoWaySection => {
    const media = offer.media[section.mediaIndex];
    if (media === undefined || section.tag === 'rejected' || !receives(offer, media)) return section;
    if (back.some(({ kind }) => kind === media.kind)) return section;
    const codec = section.tag === 'receive' ? section.streamCodec : bestCodec(media, preferences);
    const sent = codec && sendingTo(media, codec, back);
    if (sent === undefined) return section;
    back.push(sent);
    return section.tag === 'receive' ? { ...section, back: sent } : sent;
  });
  return { sections: twoWay.map((section) => withoutMid(offer, section)), notCarried };
}

/**
 * `negotiatePublish`, for a client that may be talked to: where it sends its sound as Opus and takes some, it gets sound in
 * the same section. The answer tells the SSRC of that sound.
 * @throws NoCommonCodecsError, SdpError as `negotiatePublish`
 */
export function negotiateTalkBack(
  offer: Offer,
  preferences: PublishPreferences = {},
): { sections: PublishSection[]; notCarried: string[] } {
  const { sections, notCarried } = negotiatePublish(offer, preferences);
  return {
    sections: sections.map((section) => {
      const media = offer.media[section.mediaIndex];
      const isSound = section.tag === 'receive' && section.kind === 'audio' && codecName(section) === 'opus';
      const back = isSound && media && receives(offer, media) && sendingTo(media, section.streamCodec, []);
      return back ? { ...section, back } : section;
    }),
    notCarried,
  };
}

/**
 * What a player sends itself in the section in which it gets a stream's sound, both as Opus; undefined if it sends nothing
 * there.
 */
export function talkIn(offer: Offer, sections: readonly PlaySection[]): ReceiveSection | undefined {
  const heard = sections.find((section) => section.tag === 'send' && section.kind === 'audio');
  if (heard?.tag !== 'send' || codecName(heard) !== 'opus') return undefined;
  const opusAlone = { videos: 0, audioCodecs: ['opus'], earlier: { routerCodecs: [] } } as const;
  const received = negotiatePublish(offer, opusAlone).sections[heard.mediaIndex];
  return received?.tag === 'receive' && received.codec.payloadType === heard.codec.payloadType ? received : undefined;
}

/**
 * weir's packets can't carry a mid, and their SSRC isn't told, so the client has to go by their payload types. Chromium does
 * that only if no section has the extension for the mid. The client's own packets are known by the SSRC in its offer.
 */
function withoutMid(offer: Offer, section: TwoWaySection): TwoWaySection {
  if (section.tag !== 'receive' || offer.media[section.mediaIndex]?.ssrcs.length === 0) return section;
  const { rtpParameters } = section;
  const headerExtensions = rtpParameters.headerExtensions.filter(({ uri }) => uri !== MID_URI);
  return { ...section, rtpParameters: { ...rtpParameters, headerExtensions } };
}

/** The section as weir sends in it, if it does. */
export const sentIn = (section: TwoWaySection): SendSection | undefined => {
  switch (section.tag) {
    case 'send':
      return section;
    case 'receive':
      return section.back;
    case 'inactive':
    case 'rejected':
      return undefined;
    default:
      return section satisfies never;
  }
};

const receives = (offer: Offer, media: OfferedMedia): boolean =>
  (media.direction === 'sendrecv' || media.direction === 'recvonly') && hasMuxedRtcp(offer, media);

function sendingTo(media: OfferedMedia, codec: ReceiveSection['streamCodec'], back: readonly SendSection[]) {
  const { transportIndex, kind } = media;
  if (transportIndex === undefined || kind === 'other') return undefined;
  return sendSection(media, { kind, transportIndex, streamIndex: 0 }, codec, back);
}

function bestCodec(media: OfferedMedia, preferences: PublishPreferences): StreamCodec | undefined {
  const { kind } = media;
  if (kind === 'other') return undefined;
  const preferred: Record<MediaKind, readonly CodecName[]> = {
    audio: preferences.audioCodecs ?? DEFAULT_AUDIO_CODECS,
    video: preferences.videoCodecs ?? DEFAULT_VIDEO_CODECS,
  };
  for (const name of preferred[kind]) {
    const [codec] = publishCandidates(media, name);
    if (codec === undefined) continue;
    const { clockRate, channels, parameters } = CODECS[name];
    return {
      ...{ kind, mimeType: `${kind}/${name}`, clockRate, parameters: pickParameters(codec, parameters) },
      ...(channels === undefined ? {} : { channels }),
    };
  }
  return undefined;
}
