import { Buffer } from 'node:buffer';

/** What a track carries, as far as its SDP says. Parameter sets are NAL units without start code. */
export type TrackFormat =
  | {
      readonly codec: 'h264';
      readonly packetizationMode: 0 | 1 | 2;
      /** Six hexadecimal digits. */
      readonly profileLevelId: string | undefined;
      readonly sps: readonly Buffer[];
      readonly pps: readonly Buffer[];
    }
  | {
      readonly codec: 'h265';
      readonly vps: readonly Buffer[];
      readonly sps: readonly Buffer[];
      readonly pps: readonly Buffer[];
    }
  | {
      readonly codec: 'aac';
      /** AudioSpecificConfig of ISO 14496-3; empty when the SDP has none. */
      readonly config: Buffer;
      /** Bits of the fields of an AU header: RFC 3640, 3.2.1. */
      readonly sizeLength: number;
      readonly indexLength: number;
      readonly indexDeltaLength: number;
    }
  | { readonly codec: 'opus'; readonly stereo: boolean }
  | { readonly codec: 'pcmu' }
  | { readonly codec: 'pcma' }
  | { readonly codec: 'vp8' }
  | { readonly codec: 'vp9'; readonly profileId: number | undefined }
  /** Anything else, by the encoding name of its rtpmap, and as its fmtp describes it. */
  | { readonly codec: 'other'; readonly encodingName: string; readonly parameters: FormatParameters };

export type TrackCodec = TrackFormat['codec'];

export type FormatParameters = ReadonlyMap<string, string>;

export function parseFormat(encodingName: string, parameters: FormatParameters): TrackFormat {
  switch (encodingName.toUpperCase()) {
    case 'H264':
      return parseH264(parameters);
    case 'H265':
    case 'HEVC':
      return {
        codec: 'h265',
        vps: nalUnits(parameters.get('sprop-vps')),
        sps: nalUnits(parameters.get('sprop-sps')),
        pps: nalUnits(parameters.get('sprop-pps')),
      };
    case 'MPEG4-GENERIC':
      return parseAac(parameters);
    case 'OPUS':
      return { codec: 'opus', stereo: parameters.get('sprop-stereo') === '1' || parameters.get('stereo') === '1' };
    case 'PCMU':
      return { codec: 'pcmu' };
    case 'PCMA':
      return { codec: 'pcma' };
    case 'VP8':
      return { codec: 'vp8' };
    case 'VP9':
      return { codec: 'vp9', profileId: numberOf(parameters.get('profile-id')) };
    default:
      return { codec: 'other', encodingName, parameters };
  }
}

const H264_SPS = 7;
const H264_PPS = 8;

function parseH264(parameters: FormatParameters): TrackFormat {
  const units = nalUnits(parameters.get('sprop-parameter-sets'));
  const ofType = (type: number): Buffer[] => units.filter((unit) => (unit.readUInt8(0) & 0x1f) === type);
  const mode = numberOf(parameters.get('packetization-mode'));
  const profileLevelId = parameters.get('profile-level-id')?.toLowerCase();
  return {
    codec: 'h264',
    packetizationMode: mode === 1 || mode === 2 ? mode : 0,
    profileLevelId: profileLevelId !== undefined && /^[0-9a-f]{6}$/.test(profileLevelId) ? profileLevelId : undefined,
    sps: ofType(H264_SPS),
    pps: ofType(H264_PPS),
  };
}

/** Base64 units behind commas. Devices add empty ones and start codes. */
function nalUnits(text: string | undefined): Buffer[] {
  return (text ?? '')
    .split(',')
    .map((unit) => withoutStartCode(Buffer.from(unit.trim(), 'base64')))
    .filter((unit) => unit.length > 1);
}

function withoutStartCode(unit: Buffer): Buffer {
  if (unit.length > 4 && unit.readUInt32BE(0) === 1) return unit.subarray(4);
  return unit.length > 3 && unit.readUIntBE(0, 3) === 1 ? unit.subarray(3) : unit;
}

/** AAC-hbr's field sizes unless the SDP says others (RFC 3640, 3.3.6; AAC-lbr is 6/2/2). */
function parseAac(parameters: FormatParameters): TrackFormat {
  const lowRate = parameters.get('mode')?.toLowerCase() === 'aac-lbr';
  const config = parameters.get('config')?.replace(/^"|"$/g, '') ?? '';
  return {
    codec: 'aac',
    config: /^([0-9a-f]{2}){1,64}$/i.test(config) ? Buffer.from(config, 'hex') : Buffer.alloc(0),
    sizeLength: bitsOf(parameters.get('sizelength')) ?? (lowRate ? 6 : 13),
    indexLength: bitsOf(parameters.get('indexlength')) ?? (lowRate ? 2 : 3),
    indexDeltaLength: bitsOf(parameters.get('indexdeltalength')) ?? (lowRate ? 2 : 3),
  };
}

function numberOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}

function bitsOf(text: string | undefined): number | undefined {
  const bits = numberOf(text);
  return bits !== undefined && bits <= 32 ? bits : undefined;
}

export function encodingNameOf(format: TrackFormat): string {
  switch (format.codec) {
    case 'h264':
      return 'H264';
    case 'h265':
      return 'H265';
    case 'aac':
      return 'MPEG4-GENERIC';
    case 'opus':
      return 'opus';
    case 'pcmu':
      return 'PCMU';
    case 'pcma':
      return 'PCMA';
    case 'vp8':
      return 'VP8';
    case 'vp9':
      return 'VP9';
    case 'other':
      return format.encodingName;
    default: {
      const never: never = format;
      return never;
    }
  }
}

/** The parameters of `a=fmtp`; none when there is nothing to say. */
export function formatParametersOf(format: TrackFormat): Readonly<Record<string, string>> {
  switch (format.codec) {
    case 'h264':
      return h264Parameters(format);
    case 'h265':
      return h265Parameters(format);
    case 'aac':
      return {
        streamtype: '5',
        'profile-level-id': '1',
        mode: 'AAC-hbr',
        sizelength: String(format.sizeLength),
        indexlength: String(format.indexLength),
        indexdeltalength: String(format.indexDeltaLength),
        config: format.config.toString('hex').toUpperCase(),
      };
    case 'opus':
      return format.stereo ? { 'sprop-stereo': '1' } : {};
    case 'vp9':
      return format.profileId === undefined ? {} : { 'profile-id': String(format.profileId) };
    case 'pcmu':
    case 'pcma':
    case 'vp8':
      return {};
    case 'other':
      return Object.fromEntries(format.parameters);
    default: {
      const never: never = format;
      return never;
    }
  }
}

function h264Parameters(format: Extract<TrackFormat, { codec: 'h264' }>): Record<string, string> {
  const [sps] = format.sps;
  const profileLevelId = sps && sps.length >= 4 ? sps.toString('hex', 1, 4) : format.profileLevelId;
  return {
    'packetization-mode': String(format.packetizationMode),
    ...(sps && format.pps.length > 0 ? { 'sprop-parameter-sets': base64([...format.sps, ...format.pps]) } : {}),
    ...(profileLevelId === undefined ? {} : { 'profile-level-id': profileLevelId }),
  };
}

function h265Parameters({ vps, sps, pps }: Extract<TrackFormat, { codec: 'h265' }>): Record<string, string> {
  return {
    ...(vps.length > 0 ? { 'sprop-vps': base64(vps) } : {}),
    ...(sps.length > 0 ? { 'sprop-sps': base64(sps) } : {}),
    ...(pps.length > 0 ? { 'sprop-pps': base64(pps) } : {}),
  };
}

const base64 = (units: readonly Buffer[]): string => units.map((unit) => unit.toString('base64')).join(',');
