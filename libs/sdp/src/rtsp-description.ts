import { directionOf, fmtpsOf, payloadTypesOf, type Rtpmap, rtpmapsOf } from './attributes.js';
import { type MediaBlock, readDescription, type ReadingRules, valueOf } from './description.js';
import { codecLines, descriptionOf, mediaLine, sessionLines } from './lines.js';
import { SdpError } from './sdp-error.js';
import {
  encodingNameOf,
  type FormatParameters,
  formatParametersOf,
  parseFormat,
  type TrackFormat,
} from './track-format.js';

/** One `m=` section. */
export interface SdpTrack {
  readonly kind: 'video' | 'audio' | 'other';
  readonly format: TrackFormat;
  readonly payloadType: number;
  readonly clockRateHz: number;
  /** Of audio; undefined for video. */
  readonly channels: number | undefined;
  /** Everything `a=fmtp` had, names in lower case. */
  readonly parameters: FormatParameters;
  /** As written; '' when the section has none. */
  readonly control: string;
  /** `send` is a back channel (ONVIF): the receiver of the description would send it. */
  readonly direction: 'receive' | 'send' | 'both' | undefined;
}

export type ParsedRtspDescription =
  | {
      readonly tag: 'description';
      readonly sessionName: string;
      /** The `a=control` before the first `m=`. */
      readonly control: string | undefined;
      readonly tracks: readonly SdpTrack[];
    }
  | { readonly tag: 'malformed'; readonly detail: string };

/** Cameras leave out `v=`, `o=`, `s=` and `t=`, and put other lines between. */
const RTSP_RULES: ReadingRules = { mediaSections: 16, firstLine: 'any', otherLines: 'skipped' };

/** Reads what RTSP needs of a session description. */
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

/** The first payload type whose codec weir knows, else the first. */
function trackOf(section: MediaBlock): SdpTrack {
  const rtpmaps = rtpmapsOf(section);
  const fmtps = fmtpsOf(section);
  const alternatives = payloadTypesOf(section).map((payloadType) =>
    alternativeOf(payloadType, rtpmaps.get(payloadType), fmtps.get(payloadType) ?? new Map()),
  );
  const chosen = alternatives.find(({ format }) => format.codec !== 'other') ?? alternatives[0] ?? NO_PAYLOAD;
  const mediaType = section.mediaType.toLowerCase();
  const kind = mediaType === 'video' || mediaType === 'audio' ? mediaType : 'other';
  return {
    ...chosen,
    kind,
    channels: kind === 'audio' ? (chosen.channels ?? 1) : undefined,
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

type Alternative = Pick<SdpTrack, 'format' | 'payloadType' | 'clockRateHz' | 'channels' | 'parameters'>;

const NO_PAYLOAD: Alternative = {
  format: { codec: 'other', encodingName: '', parameters: new Map() },
  payloadType: 0,
  clockRateHz: 90_000,
  channels: undefined,
  parameters: new Map(),
};

function alternativeOf(
  payloadType: number,
  { name = '', clockRate, channels }: Partial<Rtpmap> = {},
  parameters: FormatParameters,
): Alternative {
  const format = parseFormat(name, parameters);
  return { format, payloadType, clockRateHz: clockRate ?? NO_PAYLOAD.clockRateHz, channels, parameters };
}

/** A track as weir describes it; its control is `trackID=<index>`. */
export type TrackDescription = Pick<SdpTrack, 'format' | 'payloadType' | 'clockRateHz' | 'channels'> & {
  readonly kind: 'video' | 'audio';
};

export interface RtspDescription {
  /** Digits; the same for every description of one session. */
  readonly sessionId: string;
  readonly sessionVersion: number;
  readonly sessionName: string;
  readonly tracks: readonly TrackDescription[];
}

export function controlOf(trackIndex: number): string {
  return `trackID=${trackIndex}`;
}

/** The description of a live stream, for DESCRIBE's answer and for ANNOUNCE. */
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

function linesOf({ kind, payloadType, clockRateHz, channels, format }: TrackDescription, index: number): string[] {
  return [
    mediaLine(kind, 0, 'RTP/AVP', [payloadType]),
    ...codecLines({
      payloadType,
      name: encodingNameOf(format),
      clockRate: clockRateHz,
      // Opus is written with two channels whatever it carries (RFC 7587 §7).
      channels: format.codec === 'opus' ? 2 : channels,
      parameters: formatParametersOf(format),
    }),
    `a=control:${controlOf(index)}`,
  ];
}
