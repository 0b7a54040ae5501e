import type { CodecParameters } from './rtp-parameters.js';

/** Writes the lines that all of weir's descriptions are made of. */

/** Has no space and no control character, so it can't end a line or an attribute's value. */
const WORD = /^[\x21-\x7e]{1,255}$/;
const PRINTABLE = /^[\x20-\x7e]*$/;

/** @throws RangeError for text that would end the value or the line, which is the caller's mistake. */
export function word(text: string): string {
  if (!WORD.test(text))
    throw new RangeError('A value with a space or a control character does not go into a description');
  return text;
}

/** @throws RangeError */
export function wholeNumber(value: number): number {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError('A number of the description is not a whole one');
  return value;
}

export interface WrittenSession {
  /** A number of up to 19 digits. */
  readonly id: string | number;
  readonly version: number;
  /** IPv4. */
  readonly address: string;
  /** Text of the session's `s=` line; control characters are replaced. */
  readonly name?: string;
  /** The address also applies to all media. */
  readonly hasConnection?: boolean;
}

/** @throws RangeError */
export function sessionLines({ id, version, address, name = '', hasConnection = false }: WrittenSession): string[] {
  if (!/^\d{1,19}$/.test(String(id))) throw new RangeError('The id of a session is a number of up to 19 digits');
  const printable = name.replaceAll(/\p{Cc}/gu, ' ');
  return [
    'v=0',
    `o=- ${id} ${wholeNumber(version)} IN IP4 ${word(address)}`,
    `s=${printable === '' ? '-' : printable}`,
    ...(hasConnection ? [`c=IN IP4 ${word(address)}`] : []),
    't=0 0',
  ];
}

/** @throws RangeError */
export function mediaLine(
  mediaType: string,
  port: number,
  protocol: string,
  formats: readonly (string | number)[],
): string {
  return `m=${word(mediaType)} ${wholeNumber(port)} ${word(protocol)} ${formats.map((format) => word(String(format))).join(' ')}`;
}

export interface WrittenCodec {
  readonly payloadType: number;
  readonly name: string;
  readonly clockRate: number;
  /** Audio only. */
  readonly channels?: number | undefined;
  readonly parameters: Readonly<CodecParameters>;
}

/**
 * The fmtp line directly follows the rtpmap line, because the WebSDK edits the line after the rtpmap. Parameters that
 * don't fit into a line are left out.
 * @throws RangeError
 */
export function codecLines(codec: WrittenCodec, feedback: readonly string[] = []): string[] {
  const payloadType = wholeNumber(codec.payloadType);
  const parameters = Object.entries(codec.parameters)
    .map(([name, value]) => (value === '' ? name : `${name}=${value}`))
    .filter((parameter) => PRINTABLE.test(parameter));
  return [
    `a=rtpmap:${payloadType} ${word(codec.name)}/${wholeNumber(codec.clockRate)}${channelSuffix(codec)}`,
    ...(parameters.length > 0 ? [`a=fmtp:${payloadType} ${parameters.join(';')}`] : []),
    ...feedback.map((item) => `a=rtcp-fb:${payloadType} ${item.split(' ').map(word).join(' ')}`),
  ];
}

/** A single channel is written for AAC only, because its readers expect it. */
function channelSuffix({ name, channels = 0 }: WrittenCodec): string {
  return channels > 1 || (channels === 1 && name.toUpperCase() === 'MPEG4-GENERIC') ? `/${wholeNumber(channels)}` : '';
}

export interface WrittenCandidate {
  readonly foundation: string;
  readonly protocol: 'udp' | 'tcp';
  readonly priority: number;
  readonly address: string;
  readonly port: number;
  readonly type: string;
  readonly tcpType?: string | undefined;
}

/** Writes a candidate of component 1: RTCP uses the same path. */
export function candidateLine({
  foundation,
  protocol,
  priority,
  address,
  port,
  type,
  tcpType,
}: WrittenCandidate): string {
  const transport = `${word(protocol)} ${wholeNumber(priority)} ${word(address)} ${wholeNumber(port)}`;
  return `a=candidate:${word(foundation)} 1 ${transport} typ ${word(type)}${tcpType ? ` tcptype ${word(tcpType)}` : ''}`;
}

export interface WrittenTransport {
  readonly usernameFragment: string;
  readonly password: string;
  readonly fingerprint: { readonly algorithm: string; readonly value: string };
  readonly setup: 'actpass' | 'active' | 'passive';
}

/** @throws RangeError */
export function transportLines({ usernameFragment, password, fingerprint, setup }: WrittenTransport): string[] {
  return [
    `a=ice-ufrag:${word(usernameFragment)}`,
    `a=ice-pwd:${word(password)}`,
    `a=fingerprint:${word(fingerprint.algorithm)} ${word(fingerprint.value)}`,
    `a=setup:${setup}`,
  ];
}

/** The second line is for clients from before `a=msid`. */
export function ssrcLines(ssrc: number, cname: string, msid: string): string[] {
  return [`a=ssrc:${wholeNumber(ssrc)} cname:${word(cname)}`, `a=ssrc:${wholeNumber(ssrc)} msid:${msid}`];
}

/** @throws RangeError if a line contains a line end. */
export function descriptionOf(lines: readonly string[]): string {
  if (lines.some((line) => /[\r\n]/.test(line))) throw new RangeError('A line of the description has a line end in it');
  return lines.map((line) => `${line}\r\n`).join('');
}
