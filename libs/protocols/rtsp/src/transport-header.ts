/** One alternative of a Transport header (RFC 2326, 12.39). */
export interface TransportSpec {
  readonly lower: 'udp' | 'tcp';
  /** `RTP/AVP` unless the other side wants feedback or encryption. */
  readonly profile: string;
  readonly multicast: boolean;
  readonly clientPorts?: PortPair;
  readonly serverPorts?: PortPair;
  readonly interleaved?: PortPair;
  readonly mode?: 'play' | 'record';
  /** The SSRC that the sender announces. */
  readonly ssrc?: number;
  /** Where the media come from, if that isn't the other end of the RTSP connection. It is only displayed, never used. */
  readonly source?: string;
  readonly destination?: string;
}

/** Ports or interleaved channels: one for media and one for RTCP. */
export interface PortPair {
  readonly rtp: number;
  readonly rtcp: number;
}

const MAX_ALTERNATIVES = 16;

/** Returns the alternatives in the sender's order of preference, without those that aren't RTP over UDP or TCP. */
export function parseTransport(header: string): TransportSpec[] {
  return header
    .split(',', MAX_ALTERNATIVES)
    .map(parseAlternative)
    .filter((spec) => spec !== undefined);
}

function parseAlternative(text: string): TransportSpec | undefined {
  const [protocol = '', ...parameters] = text.split(';').map((part) => part.trim());
  const match = /^(RTP\/S?AVPF?)(?:\/(UDP|TCP))?$/i.exec(protocol);
  if (!match) return undefined;
  let spec: TransportSpec = {
    lower: match[2]?.toUpperCase() === 'TCP' ? 'tcp' : 'udp',
    profile: (match[1] ?? '').toUpperCase(),
    multicast: false,
  };
  for (const parameter of parameters) spec = { ...spec, ...parseParameter(parameter) };
  return spec;
}

function parseParameter(text: string): Partial<TransportSpec> {
  const equals = text.indexOf('=');
  const name = (equals === -1 ? text : text.slice(0, equals)).trim().toLowerCase();
  const value = equals === -1 ? '' : unquoted(text.slice(equals + 1).trim());
  switch (name) {
    case 'multicast':
      return { multicast: true };
    case 'client_port':
      return optional('clientPorts', parsePair(value, 65535));
    case 'server_port':
      return optional('serverPorts', parsePair(value, 65535));
    case 'interleaved':
      return optional('interleaved', parsePair(value, 255));
    case 'mode':
      return optional('mode', parseMode(value));
    case 'ssrc':
      return /^[0-9a-f]{1,8}$/i.test(value) ? { ssrc: parseInt(value, 16) } : {};
    case 'source':
      return { source: value };
    case 'destination':
      return { destination: value };
    default:
      return {};
  }
}

function optional<Key extends keyof TransportSpec>(key: Key, value: TransportSpec[Key]): Partial<TransportSpec> {
  return value === undefined ? {} : { [key]: value };
}

function unquoted(text: string): string {
  return text.length > 1 && text.startsWith('"') && text.endsWith('"') ? text.slice(1, -1) : text;
}

/** Old Darwin-style pushers write `receive` for record. */
function parseMode(value: string): 'play' | 'record' | undefined {
  switch (value.toLowerCase()) {
    case 'play':
      return 'play';
    case 'record':
    case 'receive':
      return 'record';
    default:
      return undefined;
  }
}

function parsePair(value: string, highest: number): PortPair | undefined {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(value);
  if (!match) return undefined;
  const rtp = Number(match[1]);
  const rtcp = match[2] === undefined ? rtp + 1 : Number(match[2]);
  return rtp <= highest && rtcp <= highest ? { rtp, rtcp } : undefined;
}

export function formatTransport(spec: TransportSpec): string {
  const parts = [`${spec.profile}${spec.lower === 'tcp' ? '/TCP' : ''}`, spec.multicast ? 'multicast' : 'unicast'];
  if (spec.destination !== undefined) parts.push(`destination=${spec.destination}`);
  if (spec.source !== undefined) parts.push(`source=${spec.source}`);
  if (spec.interleaved) parts.push(`interleaved=${formatPair(spec.interleaved)}`);
  if (spec.clientPorts) parts.push(`client_port=${formatPair(spec.clientPorts)}`);
  if (spec.serverPorts) parts.push(`server_port=${formatPair(spec.serverPorts)}`);
  if (spec.ssrc !== undefined) parts.push(`ssrc=${spec.ssrc.toString(16).padStart(8, '0').toUpperCase()}`);
  if (spec.mode !== undefined) parts.push(`mode=${spec.mode}`);
  return parts.join(';');
}

function formatPair(pair: PortPair): string {
  return `${pair.rtp}-${pair.rtcp}`;
}
