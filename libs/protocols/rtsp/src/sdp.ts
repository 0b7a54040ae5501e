import {
  encodingNameOf,
  type FormatParameters,
  formatParametersOf,
  parseFormat,
  parseFormatParameters,
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

export type ParsedSdp =
  | {
      readonly tag: 'description';
      readonly sessionName: string;
      /** The `a=control` before the first `m=`. */
      readonly control: string | undefined;
      readonly tracks: readonly SdpTrack[];
    }
  | { readonly tag: 'malformed'; readonly detail: string };

const MAX_LINES = 1024;
const MAX_SECTIONS = 16;

interface Section {
  readonly media: string;
  readonly payloadTypes: readonly number[];
  readonly rtpmaps: Map<number, string>;
  readonly fmtps: Map<number, string>;
  control: string;
  direction: SdpTrack['direction'];
}

/** Reads what RTSP needs of an SDP; missing `v=`, `o=`, `s=`, `t=` and unknown lines don't hurt. */
export function parseSdp(text: string): ParsedSdp {
  const lines = text.split(/\r\n|\n|\r/);
  if (lines.length > MAX_LINES) return { tag: 'malformed', detail: `more than ${MAX_LINES} lines` };
  const sections: Section[] = [];
  let sessionName = '';
  let control: string | undefined;
  for (const line of lines) {
    const value = line.slice(2).trim();
    const section = sections.at(-1);
    if (line.startsWith('m=')) {
      const started = parseMediaLine(value);
      if (!started) return { tag: 'malformed', detail: `media line ${sections.length + 1}` };
      if (sections.push(started) > MAX_SECTIONS) return { tag: 'malformed', detail: `more than ${MAX_SECTIONS} media` };
    } else if (line.startsWith('s=')) sessionName = value;
    else if (line.startsWith('a=') && section) readAttribute(section, value);
    else if (line.startsWith('a=control:')) control = value.slice('control:'.length).trim();
  }
  return { tag: 'description', sessionName, control, tracks: sections.map(trackOf) };
}

function parseMediaLine(value: string): Section | undefined {
  const [media = '', port = '', protocol = '', ...formats] = value.split(/\s+/);
  if (!/^[a-z]+$/i.test(media) || !/^\d{1,5}(\/\d{1,3})?$/.test(port) || protocol === '') return undefined;
  return {
    media: media.toLowerCase(),
    payloadTypes: formats.filter((format) => /^\d{1,3}$/.test(format) && Number(format) < 128).map(Number),
    rtpmaps: new Map(),
    fmtps: new Map(),
    control: '',
    direction: undefined,
  };
}

function readAttribute(section: Section, value: string): void {
  const colon = value.indexOf(':');
  const name = (colon === -1 ? value : value.slice(0, colon)).toLowerCase();
  const rest = colon === -1 ? '' : value.slice(colon + 1).trim();
  const mapped = /^(\d{1,3})\s+(.*)$/.exec(rest);
  switch (name) {
    case 'rtpmap':
      if (mapped) section.rtpmaps.set(Number(mapped[1]), mapped[2] ?? '');
      break;
    case 'fmtp':
      if (mapped) section.fmtps.set(Number(mapped[1]), mapped[2] ?? '');
      break;
    case 'control':
      section.control = rest;
      break;
    case 'recvonly':
      section.direction = 'receive';
      break;
    case 'sendonly':
      section.direction = 'send';
      break;
    case 'sendrecv':
      section.direction = 'both';
      break;
    default:
      break;
  }
}

/** RFC 3551's types that need no rtpmap. */
const STATIC_TYPES: ReadonlyMap<number, string> = new Map([
  [0, 'PCMU/8000/1'],
  [3, 'GSM/8000/1'],
  [4, 'G723/8000/1'],
  [8, 'PCMA/8000/1'],
  [9, 'G722/8000/1'],
  [10, 'L16/44100/2'],
  [11, 'L16/44100/1'],
  [14, 'MPA/90000/1'],
  [18, 'G729/8000/1'],
  [26, 'JPEG/90000'],
  [32, 'MPV/90000'],
  [33, 'MP2T/90000'],
]);

/** The first payload type whose codec weir knows, else the first. */
function trackOf(section: Section): SdpTrack {
  const alternatives = section.payloadTypes.map((payloadType) => alternativeOf(section, payloadType));
  const chosen = alternatives.find(({ format }) => format.codec !== 'other') ?? alternatives[0] ?? NO_PAYLOAD;
  const kind = section.media === 'video' || section.media === 'audio' ? section.media : 'other';
  const channels = kind === 'audio' ? (chosen.channels ?? 1) : undefined;
  return { ...chosen, kind, channels, control: section.control, direction: section.direction };
}

type Alternative = Pick<SdpTrack, 'format' | 'payloadType' | 'clockRateHz' | 'channels' | 'parameters'>;

const NO_PAYLOAD: Alternative = {
  format: { codec: 'other', encodingName: '', parameters: new Map() },
  payloadType: 0,
  clockRateHz: 90000,
  channels: undefined,
  parameters: new Map(),
};

function alternativeOf(section: Section, payloadType: number): Alternative {
  const [name = '', rate = '', channels = ''] = (
    section.rtpmaps.get(payloadType) ??
    STATIC_TYPES.get(payloadType) ??
    ''
  ).split('/');
  const parameters = parseFormatParameters(section.fmtps.get(payloadType) ?? '');
  return {
    format: parseFormat(name.trim(), parameters),
    payloadType,
    clockRateHz: /^\d{1,7}$/.test(rate.trim()) && Number(rate) > 0 ? Number(rate) : 90000,
    channels: /^\d{1,2}$/.test(channels.trim()) && Number(channels) > 0 ? Number(channels) : undefined,
    parameters,
  };
}

/** A track as weir describes it; its control is `trackID=<index>`. */
export type TrackDescription = Pick<SdpTrack, 'format' | 'payloadType' | 'clockRateHz' | 'channels'> & {
  readonly kind: 'video' | 'audio';
};

export interface SdpToWrite {
  /** Digits; the same for every description of one session. */
  readonly sessionId: string;
  readonly sessionVersion: number;
  readonly sessionName: string;
  readonly tracks: readonly TrackDescription[];
}

export function controlOf(trackIndex: number): string {
  return `trackID=${trackIndex}`;
}

/** The SDP of a live stream, for DESCRIBE's answer and for ANNOUNCE. */
export function writeSdp(sdp: SdpToWrite): string {
  const lines = [
    'v=0',
    `o=- ${sdp.sessionId} ${sdp.sessionVersion} IN IP4 0.0.0.0`,
    `s=${sdp.sessionName === '' ? '-' : sdp.sessionName}`,
    'c=IN IP4 0.0.0.0',
    't=0 0',
    'a=range:npt=0-',
    'a=control:*',
    ...sdp.tracks.flatMap(linesOf),
  ];
  return `${lines.join('\r\n')}\r\n`;
}

function linesOf(track: TrackDescription, index: number): string[] {
  const { payloadType, clockRateHz, channels, format } = track;
  const channelSuffix = channels !== undefined && (channels > 1 || format.codec === 'aac') ? `/${channels}` : '';
  const parameters = formatParametersOf(format);
  const lines = [
    `m=${track.kind} 0 RTP/AVP ${payloadType}`,
    `a=rtpmap:${payloadType} ${encodingNameOf(format)}/${clockRateHz}${format.codec === 'opus' ? '/2' : channelSuffix}`,
  ];
  if (parameters !== undefined) lines.push(`a=fmtp:${payloadType} ${parameters}`);
  lines.push(`a=control:${controlOf(index)}`);
  return lines;
}
