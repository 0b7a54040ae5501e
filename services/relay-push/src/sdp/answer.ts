/** The other server's answer can't be used. The detail is for people and holds nothing of the answer's own text. */
export class AnswerError extends Error {
  override readonly name = 'AnswerError';

  constructor(
    readonly problem: 'too-large' | 'malformed' | 'insecure' | 'no-media',
    detail: string,
  ) {
    super(detail);
  }
}

export interface AnsweredCodec {
  readonly payloadType: number;
  /** In lower case. */
  readonly name: string;
  readonly clockRate: number;
  readonly channels: number;
  readonly parameters: Readonly<Record<string, string>>;
}

export interface RemoteCandidate {
  readonly foundation: string;
  readonly priority: number;
  readonly address: string;
  readonly port: number;
  readonly type: string;
}

export interface RemoteTransport {
  readonly usernameFragment: string;
  readonly password: string;
  readonly iceLite: boolean;
  /** Algorithm in lower case; the value as pairs of upper-case digits between colons. */
  readonly fingerprints: readonly { readonly algorithm: string; readonly value: string }[];
  /** What the remote is in the DTLS handshake; undefined where it doesn't say. */
  readonly setup: 'active' | 'passive' | undefined;
  /** UDP, component 1. */
  readonly candidates: readonly RemoteCandidate[];
}

export interface AnsweredMedia {
  readonly mid: string | undefined;
  readonly kind: 'audio' | 'video' | 'other';
  /** False: the section was refused. */
  readonly accepted: boolean;
  readonly direction: 'sendrecv' | 'sendonly' | 'recvonly' | 'inactive';
  /** In the order of the m-line. */
  readonly codecs: readonly AnsweredCodec[];
  readonly headerExtensions: readonly { readonly id: number; readonly uri: string }[];
  readonly ssrcs: readonly number[];
  readonly transport: RemoteTransport | undefined;
  /** The section whose transport carries this one's media too: its own index, unless it is bundled. */
  readonly transportOf: number;
}

export interface Answer {
  readonly media: readonly AnsweredMedia[];
}

const LIMITS = { characters: 64 * 1024, lines: 1_000, sections: 8, codecs: 64, candidates: 32, ssrcs: 32 } as const;
const ICE_TEXT = /^[\x21-\x7e]{4,256}$/;
const HASH_BYTES: Readonly<Record<string, number>> = { 'sha-256': 32, 'sha-384': 48, 'sha-512': 64 };
const DIRECTIONS = ['sendrecv', 'sendonly', 'recvonly', 'inactive'] as const;
const STATIC_CODECS: Readonly<Record<number, readonly [name: string, clockRate: number]>> = {
  0: ['pcmu', 8_000],
  8: ['pcma', 8_000],
  9: ['g722', 8_000],
};

interface Block {
  readonly mediaLine: string;
  readonly attributes: readonly { readonly name: string; readonly value: string }[];
}

/** Session first, then one block for each m-line. */
const blocksOf = (sdp: string): Block[] => {
  if (sdp.length > LIMITS.characters) throw new AnswerError('too-large', 'The answer is too long');
  const lines = sdp.split(/\r\n|\n|\r/, LIMITS.lines + 1);
  if (lines.length > LIMITS.lines) throw new AnswerError('too-large', 'The answer has too many lines');
  if (lines[0]?.trim() !== 'v=0') throw new AnswerError('malformed', 'The answer is not SDP');
  const blocks: { mediaLine: string; attributes: { name: string; value: string }[] }[] = [
    { mediaLine: '', attributes: [] },
  ];
  for (const line of lines) {
    if (line.startsWith('m=')) {
      blocks.push({ mediaLine: line.slice(2).trim(), attributes: [] });
    } else if (line.startsWith('a=')) {
      const [name = '', ...value] = line.slice(2).split(':');
      blocks.at(-1)?.attributes.push({ name: name.trim().toLowerCase(), value: value.join(':').trim() });
    }
  }
  if (blocks.length - 1 > LIMITS.sections) throw new AnswerError('too-large', 'The answer has too many sections');
  return blocks;
};

const valuesOf = ({ attributes }: Block, name: string): string[] =>
  attributes.filter((attribute) => attribute.name === name).map(({ value }) => value);

/** What a section doesn't say itself is said for all of them at the session's level. */
const inherited = (name: string, section: Block, session: Block): string[] => {
  const own = valuesOf(section, name);
  return own.length > 0 ? own : valuesOf(session, name);
};

const candidatesOf = (section: Block): RemoteCandidate[] =>
  valuesOf(section, 'candidate')
    .slice(0, LIMITS.candidates)
    .flatMap((value) => {
      const [foundation = '', component, transport, priority, address = '', port, typ, type = ''] = value.split(/ +/);
      const candidate = { foundation, priority: Number(priority), address, port: Number(port), type };
      const usable =
        component === '1' &&
        transport?.toLowerCase() === 'udp' &&
        typ === 'typ' &&
        Number.isInteger(candidate.priority) &&
        candidate.priority >= 0 &&
        candidate.priority <= 0xffff_ffff &&
        Number.isInteger(candidate.port) &&
        candidate.port > 0 &&
        candidate.port <= 65_535 &&
        /^[0-9a-f.:]{2,45}$/i.test(address) &&
        /^[\w+/-]{1,32}$/.test(foundation);
      return usable ? [candidate] : [];
    });

const fingerprintsOf = (section: Block, session: Block): RemoteTransport['fingerprints'] =>
  inherited('fingerprint', section, session).flatMap((value) => {
    const [algorithm = '', hash = ''] = value.split(/ +/);
    const name = algorithm.toLowerCase();
    const bytes = HASH_BYTES[name];
    const upper = hash.toUpperCase();
    const isWhole =
      bytes !== undefined && upper.length === bytes * 3 - 1 && /^[0-9A-F]{2}(?::[0-9A-F]{2})*$/.test(upper);
    return isWhole ? [{ algorithm: name, value: upper }] : [];
  });

const transportOf = (section: Block, session: Block): RemoteTransport => {
  const [usernameFragment = ''] = inherited('ice-ufrag', section, session);
  const [password = ''] = inherited('ice-pwd', section, session);
  if (!ICE_TEXT.test(usernameFragment) || !ICE_TEXT.test(password))
    throw new AnswerError('malformed', 'The answer has no usable ICE credentials');
  const fingerprints = fingerprintsOf(section, session);
  if (fingerprints.length === 0) throw new AnswerError('insecure', 'The answer has no usable DTLS fingerprint');
  const [setup] = inherited('setup', section, session);
  return {
    usernameFragment,
    password,
    iceLite: valuesOf(session, 'ice-lite').length > 0 || valuesOf(section, 'ice-lite').length > 0,
    fingerprints,
    setup: setup === 'active' || setup === 'passive' ? setup : undefined,
    candidates: candidatesOf(section),
  };
};

const parametersOf = (section: Block, payloadType: number): Record<string, string> => {
  const prefix = `${payloadType} `;
  const line = valuesOf(section, 'fmtp').find((value) => value.startsWith(prefix)) ?? '';
  const pairs = line.slice(prefix.length).split(';');
  return Object.fromEntries(
    pairs.slice(0, 32).flatMap((pair) => {
      const [name = '', ...value] = pair.trim().split('=');
      return /^[\w-]{1,64}$/.test(name) ? [[name.toLowerCase(), value.join('=')] as const] : [];
    }),
  );
};

const codecOf = (section: Block, payloadType: number): AnsweredCodec[] => {
  const prefix = `${payloadType} `;
  const mapped = valuesOf(section, 'rtpmap').find((value) => value.startsWith(prefix));
  const [name, clockRate, channels] = mapped?.slice(prefix.length).trim().split('/') ?? [];
  const known = name === undefined ? STATIC_CODECS[payloadType] : ([name.toLowerCase(), Number(clockRate)] as const);
  if (known === undefined || !/^[\w.-]{1,32}$/.test(known[0]) || !(known[1] > 0)) return [];
  const parameters = parametersOf(section, payloadType);
  return [{ payloadType, name: known[0], clockRate: known[1], channels: Number(channels) || 1, parameters }];
};

const extensionsOf = (section: Block): { id: number; uri: string }[] =>
  valuesOf(section, 'extmap')
    .slice(0, 32)
    .flatMap((value) => {
      const [id = '', uri = ''] = value.split(/ +/);
      const number = Number(id.split('/')[0]);
      return Number.isInteger(number) && number >= 1 && number <= 14 ? [{ id: number, uri }] : [];
    });

const ssrcsOf = (section: Block): number[] => {
  const ssrcs = valuesOf(section, 'ssrc').map((value) => Number(value.split(' ')[0]));
  const secondary = valuesOf(section, 'ssrc-group').flatMap((value) => value.split(/ +/).slice(2).map(Number));
  const primary = ssrcs.filter((ssrc) => Number.isInteger(ssrc) && ssrc > 0 && !secondary.includes(ssrc));
  return [...new Set(primary)].slice(0, LIMITS.ssrcs);
};

const mediaOf = (section: Block, session: Block, transportIndex: number): AnsweredMedia => {
  const [media = '', port = '', , ...formats] = section.mediaLine.split(/ +/);
  const isAccepted = Number(port) > 0;
  const payloadTypes = formats
    .map(Number)
    .filter((payloadType) => Number.isInteger(payloadType) && payloadType >= 0 && payloadType <= 127);
  const direction = section.attributes.find(({ name }) => DIRECTIONS.some((known) => known === name))?.name;
  const sessionDirection = session.attributes.find(({ name }) => DIRECTIONS.some((known) => known === name))?.name;
  return {
    mid: valuesOf(section, 'mid')[0],
    kind: media === 'audio' || media === 'video' ? media : 'other',
    accepted: isAccepted,
    direction: DIRECTIONS.find((known) => known === (direction ?? sessionDirection)) ?? 'sendrecv',
    codecs: payloadTypes.slice(0, LIMITS.codecs).flatMap((payloadType) => codecOf(section, payloadType)),
    headerExtensions: extensionsOf(section),
    ssrcs: ssrcsOf(section),
    transport: isAccepted ? transportOf(section, session) : undefined,
    transportOf: transportIndex,
  };
};

/** Of every section the one that carries it: the first of its BUNDLE group, or itself. */
const carriers = (session: Block, sections: readonly Block[]): number[] => {
  const mids = sections.map((section) => valuesOf(section, 'mid')[0]);
  const groups = valuesOf(session, 'group').flatMap((value) => {
    const [semantics, ...members] = value.split(/ +/);
    return semantics === 'BUNDLE' ? [members] : [];
  });
  return mids.map((mid, index) => {
    const group = groups.find((members) => mid !== undefined && members.includes(mid));
    const first = group === undefined ? -1 : mids.indexOf(group[0]);
    return first < 0 ? index : first;
  });
};

/**
 * Reads the answer of a WCS server: of weir (BUNDLE, ICE-lite) as well as the original's, which has neither BUNDLE nor
 * `a=setup`, a port for each m-line, `RTP/SAVPF` and `SHA-256` in capitals. What isn't understood is skipped.
 * Throws AnswerError and nothing else.
 */
export const parseAnswer = (sdp: string): Answer => {
  const [session, ...sections] = blocksOf(sdp);
  if (session === undefined || sections.length === 0) throw new AnswerError('no-media', 'The answer has no media');
  const carriedBy = carriers(session, sections);
  return { media: sections.map((section, index) => mediaOf(section, session, carriedBy[index] ?? index)) };
};
