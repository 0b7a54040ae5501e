import { SdpError } from './sdp-error.js';

/** Limits for a description from any sender. Anything larger is refused with `too-large`. */
export const SDP_LIMITS = {
  characters: 64 * 1024,
  lines: 2000,
  /** Vorbis and Theora put their whole set-up into one line. */
  lineCharacters: 16 * 1024,
  formatsPerSection: 128,
} as const;

/** How the rules differ between kinds of descriptions: the number of media, and which invalid lines are accepted. */
export interface ReadingRules {
  readonly mediaSections: number;
  readonly firstLine: 'v=0' | 'any';
  /** What to do with lines that aren't `letter=value`; empty lines are always skipped. */
  readonly otherLines: 'refused' | 'skipped';
}

export interface Attribute {
  /** In lower case. */
  readonly name: string;
  /** Without surrounding spaces; '' for a flag such as `rtcp-mux`. */
  readonly value: string;
}

/** The lines of the session, or of one medium. */
export interface Block {
  readonly attributes: readonly Attribute[];
}

export interface SessionBlock extends Block {
  /** The `s=` line. */
  readonly name: string;
}

/** An m-line and the lines that belong to it. Every string of the m-line is safe to write into another description. */
export interface MediaBlock extends Block {
  readonly mediaType: string;
  readonly port: number;
  readonly protocol: string;
  readonly formats: readonly string[];
}

export interface Description {
  readonly session: SessionBlock;
  readonly sections: readonly MediaBlock[];
}

/** RFC 8866 token. */
export const TOKEN = /^[!#-'*+\-.0-9A-Z^_`a-z{|}~]{1,64}$/;
const FORMAT = /^[!#-'*+\-./0-9A-Z^_`a-z{|}~]{1,64}$/;
const PROTOCOL = /^[A-Za-z0-9]{1,16}(?:\/[A-Za-z0-9]{1,16}){0,4}$/;
const PORT = /^(\d{1,5})(?:\/\d{1,5})?$/;

/**
 * Splits a description into its blocks. SDP text is parsed only here; `attributes.ts` reads the meaning of attributes.
 * @throws SdpError `too-large` or `malformed`, and nothing else, for any text.
 */
export function readDescription(text: string, rules: ReadingRules): Description {
  if (text.length > SDP_LIMITS.characters) throw tooLarge(`more than ${SDP_LIMITS.characters} characters`);
  const lines = text.split(/\r\n|\n|\r/, SDP_LIMITS.lines + 1);
  if (lines.length > SDP_LIMITS.lines) throw tooLarge(`more than ${SDP_LIMITS.lines} lines`);
  if (rules.firstLine === 'v=0' && lines[0]?.trim() !== 'v=0')
    throw new SdpError('malformed', 'The description does not begin with v=0');

  const session = { name: '', attributes: new Array<Attribute>() };
  const sections: (MediaBlock & { attributes: Attribute[] })[] = [];
  for (const [index, line] of lines.entries()) {
    if (line.length > SDP_LIMITS.lineCharacters) throw tooLarge(`a line of ${line.length} characters`);
    if (!/^[a-z]=/.test(line)) {
      if (line === '' || rules.otherLines === 'skipped') continue;
      throw new SdpError('malformed', `Line ${index + 1} of the description is not SDP`);
    }
    const value = line.slice(2).trim();
    if (line.startsWith('m=')) {
      if (sections.length === rules.mediaSections) throw tooLarge(`more than ${rules.mediaSections} media sections`);
      sections.push({ ...readMediaLine(value, index + 1), attributes: [] });
    } else if (line.startsWith('a=')) (sections.at(-1) ?? session).attributes.push(readAttribute(value));
    else if (line.startsWith('s=')) session.name = value;
  }
  return { session, sections };
}

const tooLarge = (what: string): SdpError => new SdpError('too-large', `The description has ${what}`);

function readMediaLine(value: string, lineNumber: number): Omit<MediaBlock, 'attributes'> {
  const [mediaType = '', portText = '', protocol = '', ...formats] = value.split(
    /[ \t]+/,
    4 + SDP_LIMITS.formatsPerSection,
  );
  const port = Number(PORT.exec(portText)?.[1]);
  if (!TOKEN.test(mediaType) || !(port <= 65_535) || !PROTOCOL.test(protocol))
    throw new SdpError('malformed', `Line ${lineNumber}, a media line, is malformed`);
  if (formats.length > SDP_LIMITS.formatsPerSection) throw tooLarge('a media line with too many formats');
  if (!formats.every((format) => FORMAT.test(format)))
    throw new SdpError('malformed', `Line ${lineNumber} has a malformed format`);
  return { mediaType, port, protocol, formats };
}

function readAttribute(text: string): Attribute {
  const colon = text.indexOf(':');
  if (colon < 0) return { name: text.toLowerCase(), value: '' };
  return { name: text.slice(0, colon).trim().toLowerCase(), value: text.slice(colon + 1).trim() };
}

export function valuesOf({ attributes }: Block, name: string): string[] {
  return attributes.filter((attribute) => attribute.name === name).map(({ value }) => value);
}

/** The value of an attribute; the first one if it occurs more than once. */
export function valueOf({ attributes }: Block, name: string): string | undefined {
  return attributes.find((attribute) => attribute.name === name)?.value;
}

export function hasFlag({ attributes }: Block, name: string): boolean {
  return attributes.some((attribute) => attribute.name === name);
}
