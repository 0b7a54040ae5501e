import { codecNamed, isFrameCodec, type TrackDescription } from '@weir/frames';
import { announcedParameters } from './announced-parameters.js';
import { directionOf, fmtpsOf, payloadTypesOf, type Rtpmap, rtpmapsOf } from './attributes.js';
import { type MediaBlock, readDescription, type ReadingRules, valueOf } from './description.js';
import { codecLines, descriptionOf, mediaLine, sessionLines } from './lines.js';
import { SdpError } from './sdp-error.js';

/** One `m=` section. */
export interface SdpTrack extends Omit<TrackDescription, 'kind'> {
  readonly kind: TrackDescription['kind'] | 'other';
  readonly payloadType: number;
  /** As it is written; '' if the section has none. */
  readonly control: string;
  /** `send` is a back channel (ONVIF): the receiver of the description would send this medium. */
  readonly direction: 'receive' | 'send' | 'both' | undefined;
}

export type ParsedRtspDescription =
  | {
      readonly tag: 'description';
      readonly sessionName: string;
      /** The `a=control` line before the first `m=`. */
      readonly control: string | undefined;
      readonly tracks: readonly SdpTrack[];
    }
  | { readonly tag: 'malformed'; readonly detail: string };

/** Cameras leave out `v=`, `o=`, `s=` and `t=`, and insert other lines. */
const RTSP_RULES: ReadingRules = { mediaSections: 16, firstLine: 'any', otherLines: 'skipped' };

/** Reads the parts of a session description that RTSP needs. */
export function parseRtspDescription(text: string): ParsedRtspDescription {
  try {
    const { session, sections } = readDescription(text, RTSP_RULES);
    return {
      tag: 'description',
      sessionName: session.name,
      control: valueOf(session, 'control'),
      tracks: sections.map(trackOf),
    };
  } catch (error) {
    if (error instanceof SdpError) return { tag: 'malformed', detail: error.message };
    throw error;
  }
}

/** The first payload type whose codec weir knows, or else the first one. */
function trackOf(section: MediaBlock): SdpTrack {
  const rtpmaps = rtpmapsOf(section);
  const fmtps = fmtpsOf(section);
  const alternatives = payloadTypesOf(section).map((payloadType) =>
    alternativeOf(payloadType, rtpmaps.get(payloadType), fmtps.get(payloadType)),
  );
  const chosen = alternatives.find(({ codec }) => isFrameCodec(codec)) ?? alternatives[0] ?? NO_PAYLOAD;
  const mediaType = section.mediaType.toLowerCase();
  const kind = mediaType === 'video' || mediaType === 'audio' ? mediaType : 'other';
  return {
    ...chosen,
    kind,
    channels: kind === 'audio' ? chosen.channels || 1 : 0,
    control: valueOf(section, 'control') ?? '',
    direction: mediaDirectionOf(section),
  };
}

function mediaDirectionOf(section: MediaBlock): SdpTrack['direction'] {
  const direction = directionOf(section);
  switch (direction) {
    case 'recvonly':
      return 'receive';
    case 'sendonly':
      return 'send';
    case 'sendrecv':
      return 'both';
    case 'inactive':
    case undefined:
      return undefined;
    default:
      return direction satisfies never;
  }
}

type Alternative = Pick<SdpTrack, 'codec' | 'payloadType' | 'clockRate' | 'channels' | 'parameters'>;

const NO_PAYLOAD: Alternative = {
  codec: '',
  payloadType: 0,
  clockRate: 90_000,
  channels: 0,
  parameters: {},
};

function alternativeOf(
  payloadType: number,
  { name = '', clockRate = NO_PAYLOAD.clockRate, channels = 0 }: Partial<Rtpmap> = {},
  fmtp: ReadonlyMap<string, string> = new Map(),
): Alternative {
  const unquoted = [...fmtp].map(([parameter, value]) => [parameter, value.replace(/^"(.*)"$/, '$1')] as const);
  return { codec: codecNamed(name), payloadType, clockRate, channels, parameters: Object.fromEntries(unquoted) };
}

/** A track as weir announces it; its control URL is `trackID=<index>`. */
export type AnnouncedTrack = TrackDescription & { readonly payloadType: number };

export interface RtspDescription {
  /** Digits; the same for every description of a session. */
  readonly sessionId: string;
  readonly sessionVersion: number;
  readonly sessionName: string;
  readonly tracks: readonly AnnouncedTrack[];
}

export function controlOf(trackIndex: number): string {
  return `trackID=${trackIndex}`;
}

/** Writes the description of a live stream, for ANNOUNCE and for the answer to DESCRIBE. */
export function writeRtspDescription({ sessionId, sessionVersion, sessionName, tracks }: RtspDescription): string {
  return descriptionOf([
    ...sessionLines({
      id: sessionId,
      version: sessionVersion,
      address: '0.0.0.0',
      name: sessionName,
      hasConnection: true,
    }),
    'a=range:npt=0-',
    'a=control:*',
    ...tracks.flatMap(linesOf),
  ]);
}

function linesOf(track: AnnouncedTrack, index: number): string[] {
  const { kind, codec, payloadType, clockRate, channels } = track;
  return [
    mediaLine(kind, 0, 'RTP/AVP', [payloadType]),
    ...codecLines({
      payloadType,
      name: codec,
      clockRate,
      // Opus is always written with two channels (RFC 7587 §7).
      channels: codec === 'opus' ? 2 : channels,
      parameters: announcedParameters(track),
    }),
    `a=control:${controlOf(index)}`,
  ];
}
