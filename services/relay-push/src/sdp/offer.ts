export interface LocalCandidate {
  readonly foundation: string;
  readonly priority: number;
  readonly address: string;
  readonly port: number;
  readonly type: string;
}

export interface LocalTransport {
  readonly usernameFragment: string;
  readonly password: string;
  /** SHA-256, as pairs of upper-case digits between colons. */
  readonly fingerprint: string;
  readonly candidates: readonly LocalCandidate[];
}

export interface OfferedCodec {
  readonly payloadType: number;
  readonly name: string;
  readonly clockRate: number;
  /** 1 is left out. */
  readonly channels: number;
  readonly parameters: Readonly<Record<string, string>>;
}

export interface OfferedSection {
  readonly kind: 'audio' | 'video';
  readonly direction: 'sendonly' | 'recvonly';
  readonly codecs: readonly OfferedCodec[];
  readonly transport: LocalTransport;
  /** Of what is sent. */
  readonly sent?: { readonly ssrc: number; readonly cname: string };
}

export interface OfferOptions {
  /** A number of up to 19 digits. */
  readonly originId: string;
  readonly sections: readonly OfferedSection[];
}

export const ABS_SEND_TIME = {
  id: 3,
  uri: 'http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time',
} as const;

const VIDEO_FEEDBACK = ['goog-remb', 'ccm fir', 'nack', 'nack pli'];
const AUDIO_FEEDBACK = ['nack'];

const codecLines = (kind: 'audio' | 'video', codec: OfferedCodec): string[] => {
  const { payloadType, name, clockRate, channels, parameters } = codec;
  const fmtp = Object.entries(parameters).map(([key, value]) => (value === '' ? key : `${key}=${value}`));
  const feedback = kind === 'video' ? VIDEO_FEEDBACK : AUDIO_FEEDBACK;
  return [
    `a=rtpmap:${payloadType} ${name}/${clockRate}${channels > 1 ? `/${channels}` : ''}`,
    ...(fmtp.length > 0 ? [`a=fmtp:${payloadType} ${fmtp.join(';')}`] : []),
    ...feedback.map((value) => `a=rtcp-fb:${payloadType} ${value}`),
  ];
};

const sentLines = (kind: string, { ssrc, cname }: NonNullable<OfferedSection['sent']>): string[] => {
  const msid = `weir weir-${kind}`;
  return [`a=msid:${msid}`, `a=ssrc:${ssrc} cname:${cname}`, `a=ssrc:${ssrc} msid:${msid}`];
};

const sectionLines = ({ kind, direction, codecs, transport, sent }: OfferedSection): string[] => {
  const formats = codecs.map(({ payloadType }) => payloadType);
  const first = transport.candidates[0];
  const family = first?.address.includes(':') ? 'IP6' : 'IP4';
  const address = `${family} ${first?.address ?? '0.0.0.0'}`;
  return [
    `m=${kind} ${first?.port ?? 9} UDP/TLS/RTP/SAVPF ${formats.join(' ')}`,
    `c=IN ${address}`,
    `a=rtcp:${first?.port ?? 9} IN ${address}`,
    `a=ice-ufrag:${transport.usernameFragment}`,
    `a=ice-pwd:${transport.password}`,
    `a=fingerprint:sha-256 ${transport.fingerprint}`,
    'a=setup:actpass',
    `a=mid:${kind}`,
    `a=extmap:${ABS_SEND_TIME.id} ${ABS_SEND_TIME.uri}`,
    `a=${direction}`,
    'a=rtcp-mux',
    ...codecs.flatMap((codec) => codecLines(kind, codec)),
    ...(sent === undefined ? [] : sentLines(kind, sent)),
    ...transport.candidates.map(
      (candidate) =>
        `a=candidate:${candidate.foundation} 1 udp ${candidate.priority} ${candidate.address} ${candidate.port} typ ${candidate.type}`,
    ),
    'a=end-of-candidates',
  ];
};

/**
 * An offer like a browser's of the max-compat policy: BUNDLE is offered, and every section has a transport of its own
 * for servers that don't bundle. The mids are those that the original server answers with whatever it was offered.
 */
export const writeOffer = ({ originId, sections }: OfferOptions): string =>
  [
    'v=0',
    `o=- ${originId} 2 IN IP4 127.0.0.1`,
    's=-',
    't=0 0',
    `a=group:BUNDLE ${sections.map(({ kind }) => kind).join(' ')}`,
    'a=msid-semantic: WMS *',
    ...sections.flatMap(sectionLines),
  ]
    .map((line) => `${line}\r\n`)
    .join('');
