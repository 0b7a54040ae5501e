import { Buffer } from 'node:buffer';
import { nalRole, type NalRole, type TrackDescription } from '@weir/frames';

type Parameters = TrackDescription['parameters'];

/**
 * Returns the fmtp parameters with which RTSP describes a track to others: only those that readers need, in the form
 * that they expect. Devices write empty parameter sets, start codes and profiles that don't match their stream.
 */
export function announcedParameters({ codec, parameters }: Pick<TrackDescription, 'codec' | 'parameters'>): Parameters {
  switch (codec) {
    case 'H264':
      return h264Parameters(parameters);
    case 'H265':
      return h265Parameters(parameters);
    case 'MPEG4-GENERIC':
      return aacParameters(parameters);
    case 'opus':
      return parameters['sprop-stereo'] === '1' || parameters['stereo'] === '1' ? { 'sprop-stereo': '1' } : {};
    case 'VP9': {
      const profileId = numberOf(parameters['profile-id']);
      return profileId === undefined ? {} : { 'profile-id': String(profileId) };
    }
    case 'PCMU':
    case 'PCMA':
    case 'VP8':
      return {};
    default:
      return parameters;
  }
}

function h264Parameters(parameters: Parameters): Parameters {
  const units = nalUnits(parameters['sprop-parameter-sets']);
  const ofRole = (role: NalRole): Buffer[] => units.filter((unit) => nalRole('H264', unit) === role);
  const [sps, pps] = [ofRole('sps'), ofRole('pps')];
  const mode = numberOf(parameters['packetization-mode']);
  const described = parameters['profile-level-id']?.toLowerCase() ?? '';
  const ownProfile = sps[0] !== undefined && sps[0].length >= 4 ? sps[0].toString('hex', 1, 4) : described;
  return {
    'packetization-mode': String(mode === 1 || mode === 2 ? mode : 0),
    ...(sps.length > 0 && pps.length > 0 ? { 'sprop-parameter-sets': base64([...sps, ...pps]) } : {}),
    ...(/^[0-9a-f]{6}$/.test(ownProfile) ? { 'profile-level-id': ownProfile } : {}),
  };
}

function h265Parameters(parameters: Parameters): Parameters {
  return Object.fromEntries(
    ['sprop-vps', 'sprop-sps', 'sprop-pps'].flatMap((name) => {
      const units = nalUnits(parameters[name]);
      return units.length > 0 ? [[name, base64(units)]] : [];
    }),
  );
}

/** Base64 units separated by commas. */
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

const base64 = (units: readonly Buffer[]): string => units.map((unit) => unit.toString('base64')).join(',');

/** The field sizes of AAC-hbr's AU headers, unless the source states others (RFC 3640, 3.3.6; AAC-lbr has 6/2/2). */
function aacParameters(parameters: Parameters): Parameters {
  const isLowRate = parameters['mode']?.toLowerCase() === 'aac-lbr';
  const sizeOf = (name: string, highRate: number, lowRate: number): string => {
    const bits = numberOf(parameters[name]);
    return String(bits !== undefined && bits <= 32 ? bits : isLowRate ? lowRate : highRate);
  };
  const config = parameters['config'] ?? '';
  return {
    streamtype: '5',
    'profile-level-id': '1',
    mode: 'AAC-hbr',
    sizelength: sizeOf('sizelength', 13, 6),
    indexlength: sizeOf('indexlength', 3, 2),
    indexdeltalength: sizeOf('indexdeltalength', 3, 2),
    ...(/^([0-9a-f]{2}){1,64}$/i.test(config) ? { config: config.toUpperCase() } : {}),
  };
}

function numberOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}
