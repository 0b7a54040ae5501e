import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { nalRole, splitAnnexB, writeRtpPacket, type NalCodec, type NalRole } from '@weir/frames';

/** NAL units of pictures, in decoding order. */
export interface EncodedVideo {
  codec: NalCodec;
  pictures: Uint8Array[][];
}

const ENCODERS = {
  H264: ['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-f', 'h264'],
  H265: [
    ...['-c:v', 'libx265', '-preset', 'ultrafast', '-tune', 'zerolatency'],
    ...['-x265-params', 'log-level=none:keyint=15:repeat-headers=1', '-f', 'hevc'],
  ],
} as const satisfies Record<NalCodec, readonly string[]>;

/** A test picture at 15 pictures a second, two seconds of it by default, with a key frame each second. */
export function encode(codec: NalCodec, size: string, options: readonly string[] = [], pictures = 30): EncodedVideo {
  const directory = mkdtempSync(path.join(tmpdir(), 'weir-video-'));
  try {
    const file = path.join(directory, 'video');
    execFileSync('ffmpeg', [
      ...['-hide_banner', '-loglevel', 'error', '-nostdin', '-f', 'lavfi', '-i', `testsrc2=size=${size}:rate=15`],
      ...['-frames:v', String(pictures), '-g', '15', '-pix_fmt', 'yuv420p', ...ENCODERS[codec], ...options, file],
    ]);
    return { codec, pictures: picturesOf(codec, splitAnnexB(readFileSync(file))) };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const isSlice = (role: NalRole) => role === 'slice' || role === 'key-slice';

/** Here ffmpeg's encoders put a picture into one slice, or into several, of which the first begins at its corner. */
function picturesOf(codec: NalCodec, nalUnits: readonly Uint8Array[]): Uint8Array[][] {
  const pictures: Uint8Array[][] = [];
  let picture: Uint8Array[] = [];
  for (const nalUnit of nalUnits) {
    const role = nalRole(codec, nalUnit);
    const begins = !isSlice(role) || ((codec === 'H264' ? nalUnit[1] : nalUnit[2]) ?? 0) & 0x80;
    if (begins && picture.some((unit) => isSlice(nalRole(codec, unit)))) {
      pictures.push(picture);
      picture = [];
    }
    if (role !== 'delimiter') picture.push(nalUnit);
  }
  return [...pictures, picture];
}

const setsOf = ({ codec, pictures }: EncodedVideo, role: NalRole): Uint8Array[] =>
  (pictures[0] ?? []).filter((nalUnit) => nalRole(codec, nalUnit) === role);
const base64 = (units: readonly Uint8Array[]) => units.map((unit) => Buffer.from(unit).toString('base64')).join(',');

export type SpropForm = 'whole' | 'half' | 'empty' | 'none';

function spropOf(video: EncodedVideo, form: SpropForm): string {
  if (form === 'none') return '';
  const shown = (role: NalRole) => (form === 'empty' ? '' : base64(setsOf(video, role)));
  if (video.codec === 'H264')
    return `;sprop-parameter-sets=${shown('sps')}${form === 'empty' ? '' : ','}${form === 'half' ? '' : shown('pps')}`;
  return `;sprop-vps=${shown('vps')};sprop-sps=${shown('sps')};sprop-pps=${form === 'half' ? '' : shown('pps')}`;
}

export interface RawPushOptions {
  video: EncodedVideo;
  /** The video whose parameter sets are in the SDP; by default `video`. */
  described?: EncodedVideo;
  sprop?: SpropForm;
  /** Whether parameter sets are in the stream. */
  inBand?: boolean;
}

const FPS = 15;
const MAX_PAYLOAD_BYTES = 1_400;

/** An RTSP pusher over TCP. It announces and sends exactly what the test gives it, over and over. */
export class RawPusher {
  #sequenceNumber = 1;
  #timestamp = 0;
  #next = 0;
  readonly #timer: NodeJS.Timeout;

  private constructor(
    private readonly socket: Socket,
    private video: EncodedVideo,
    private readonly inBand: boolean,
  ) {
    this.#timer = setInterval(() => this.#sendPicture(), 1_000 / FPS);
    socket.on('close', () => clearInterval(this.#timer));
    socket.resume();
  }

  static async push(url: string, options: RawPushOptions): Promise<RawPusher> {
    const { video, described = video, sprop = 'whole', inBand = true } = options;
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname);
    socket.setNoDelay(true);
    socket.on('error', () => undefined); // its end shows the error
    await once(socket, 'connect');
    let session = '';
    let cseq = 0;
    const ask = async (method: string, target: string, headers: readonly string[] = [], body = '') => {
      const lines = [`${method} ${target} RTSP/1.0`, `CSeq: ${++cseq}`, ...headers];
      if (session !== '') lines.push(`Session: ${session}`);
      if (body !== '') lines.push('Content-Type: application/sdp', `Content-Length: ${body.length}`);
      socket.write(`${lines.join('\r\n')}\r\n\r\n${body}`);
      const [answer] = (await once(socket, 'data')) as [Buffer];
      if (!answer.toString().startsWith('RTSP/1.0 200 ')) throw new Error(`${method}: ${answer.toString()}`);
      session = /^Session: *([^;\r]+)/m.exec(answer.toString())?.[1] ?? session;
    };
    const sdp = [
      ...['v=0', 'o=- 1 1 IN IP4 0.0.0.0', 's=camera', 't=0 0', 'm=video 0 RTP/AVP 96'],
      `a=rtpmap:96 ${video.codec}/90000`,
      `a=fmtp:96 packetization-mode=1${spropOf(described, sprop)}`,
      'a=control:trackID=0',
      '',
    ].join('\r\n');
    await ask('ANNOUNCE', url, [], sdp);
    const transport = 'Transport: RTP/AVP/TCP;unicast;interleaved=0-1;mode=record';
    await ask('SETUP', `${url.replace(/\?.*/, '')}/trackID=0`, [transport]);
    await ask('RECORD', url);
    return new RawPusher(socket, video, inBand);
  }

  /** Sends another video from the next picture on, beginning with a key frame. */
  change(video: EncodedVideo): void {
    this.video = video;
    this.#next = 0;
  }

  stop(): void {
    clearInterval(this.#timer);
    this.socket.destroy();
  }

  #sendPicture(): void {
    const { codec, pictures } = this.video;
    const picture = (pictures[this.#next++ % pictures.length] ?? []).filter(
      (nalUnit) => this.inBand || !['vps', 'sps', 'pps'].includes(nalRole(codec, nalUnit)),
    );
    const payloads = picture.flatMap((nalUnit) => payloadsOf(codec, nalUnit));
    for (const [index, payload] of payloads.entries()) {
      const timestamp = this.#timestamp;
      const header = { payloadType: 96, ssrc: 7, timestamp, marker: index === payloads.length - 1 };
      const packet = writeRtpPacket({ ...header, sequenceNumber: this.#sequenceNumber++ }, payload);
      this.socket.write(Buffer.concat([Buffer.of(0x24, 0, packet.length >> 8, packet.length & 0xff), packet]));
    }
    this.#timestamp += 90_000 / FPS;
  }
}

function payloadsOf(codec: NalCodec, nalUnit: Uint8Array): Uint8Array[] {
  if (nalUnit.length <= MAX_PAYLOAD_BYTES) return [nalUnit];
  const first = nalUnit[0] ?? 0;
  const headerBytes = codec === 'H264' ? 1 : 2;
  const payloads: Uint8Array[] = [];
  for (let offset = headerBytes; offset < nalUnit.length; offset += MAX_PAYLOAD_BYTES) {
    const isLast = offset + MAX_PAYLOAD_BYTES >= nalUnit.length;
    const position = (offset === headerBytes ? 0x80 : 0) | (isLast ? 0x40 : 0);
    const header =
      codec === 'H264'
        ? [(first & 0xe0) | 28, position | (first & 0x1f)]
        : [(first & 0x81) | (49 << 1), nalUnit[1] ?? 1, position | ((first >> 1) & 0x3f)];
    payloads.push(Buffer.concat([Buffer.from(header), nalUnit.subarray(offset, offset + MAX_PAYLOAD_BYTES)]));
  }
  return payloads;
}
