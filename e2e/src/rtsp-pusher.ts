import { execFile } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { H264Packetizer, ntpTimeOf, splitAnnexB, writeSenderReport } from '@weir/frames';

const run = promisify(execFile);

export interface CodedPicture {
  isKeyFrame: boolean;
  nalUnits: Uint8Array[];
}

export interface CodedVideo {
  sps: Uint8Array;
  pps: Uint8Array;
  /** Begins with a key frame, so that it can be sent in a loop. */
  pictures: CodedPicture[];
}

/** Encodes a moving test picture with x264, one slice per picture. */
export async function encodeTestPicture({ fps = 15, gop = 30, pictures = 30 } = {}): Promise<CodedVideo> {
  const { stdout } = await run(
    'ffmpeg',
    [
      ...['-v', 'error', '-f', 'lavfi', '-i', `testsrc2=s=320x240:r=${fps}`, '-frames:v', String(pictures)],
      ...['-c:v', 'libx264', '-profile:v', 'baseline', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p'],
      ...['-g', String(gop), '-keyint_min', String(gop), '-sc_threshold', '0'],
      ...['-x264-params', 'slices=1:sliced-threads=0', '-f', 'h264', '-'],
    ],
    { encoding: 'buffer', maxBuffer: 2 ** 26 },
  );
  const nalUnits = splitAnnexB(stdout);
  const typeOf = (nalUnit: Uint8Array) => (nalUnit[0] ?? 0) & 0x1f;
  const [sps, pps] = [7, 8].map((type) => nalUnits.find((nalUnit) => typeOf(nalUnit) === type));
  if (sps === undefined || pps === undefined) throw new Error('ffmpeg made no parameter sets');
  const slices = nalUnits.filter((nalUnit) => [1, 5].includes(typeOf(nalUnit)));
  const coded = slices.map((nalUnit) => ({ isKeyFrame: typeOf(nalUnit) === 5, nalUnits: [nalUnit] }));
  return { sps, pps, pictures: coded };
}

/** What the camera does wrong. Times are in seconds since its first picture. */
export interface PushHabits {
  fps?: number;
  slow?: { fromS: number; fps: number };
  /** The rate of its clock; 1 is right. */
  rate?: number;
  step?: { atS: number; byS: number };
  strays?: { each: number; byS: number };
  hole?: { atS: number; lastingS: number };
  /** It sends sender reports, whose clock is set during the stream. */
  reports?: { stepAtS: number; byS: number };
  firstTimestamp?: number;
}

/** A camera that pushes by RTSP over TCP, with arbitrary faults in its numbers and times. */
export class RtspPusher {
  /** How many pictures it has sent so far. */
  sent = 0;
  #closed = false;

  private constructor(private readonly socket: Socket) {}

  static async push(url: string, video: CodedVideo, habits: PushHabits = {}): Promise<RtspPusher> {
    const { hostname, port } = new URL(url.replace(/^rtsp:/, 'http:'));
    const socket = connect(Number(port || 554), hostname);
    socket.setNoDelay(true);
    await once(socket, 'connect');
    const ask = requestsOn(socket);
    const [base = url] = url.split('?');
    const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
    await ask('ANNOUNCE', url, {
      body: [
        ...['v=0', 'o=- 1 1 IN IP4 0.0.0.0', 's=camera', 't=0 0', 'm=video 0 RTP/AVP 96', 'a=rtpmap:96 H264/90000'],
        `a=fmtp:96 packetization-mode=1;sprop-parameter-sets=${base64(video.sps)},${base64(video.pps)}`,
        ...['a=control:trackID=0', ''],
      ].join('\r\n'),
    });
    await ask('SETUP', `${base}/trackID=0`, { transport: 'RTP/AVP/TCP;unicast;interleaved=0-1;mode=record' });
    await ask('RECORD', url);
    socket.resume();
    socket.on('error', () => undefined); // `close` follows, and nothing more is sent
    const pusher = new RtspPusher(socket);
    socket.on('close', () => pusher.close());
    void pusher.#send(video, habits);
    return pusher;
  }

  close(): void {
    this.#closed = true;
    this.socket.destroy();
  }

  async #send({ sps, pps, pictures }: CodedVideo, habits: PushHabits): Promise<void> {
    const { fps = 15, slow, rate = 1, step, strays, hole, reports, firstTimestamp = 0 } = habits;
    const ssrc = 0x1122_3344;
    const packetizer = new H264Packetizer({ payloadType: 96, ssrc, sequenceNumber: 65_500 });
    const beganMs = performance.now();
    let reportedS = 0;
    for (let atS = 0, index = 0; !this.#closed; index++) {
      await sleep(Math.max(0, beganMs + atS * 1_000 - performance.now()));
      const picture = pictures[index % pictures.length];
      if (picture === undefined) throw new Error('there are no pictures to push');
      const steady = firstTimestamp + 90_000 * (atS * rate + (step !== undefined && atS >= step.atS ? step.byS : 0));
      const isStray = strays !== undefined && index % strays.each === strays.each - 1;
      const rtpTimestamp = Math.round(steady + (isStray ? strays.byS * 90_000 : 0));
      const parameterSets = { vps: [], sps: [sps], pps: [pps] };
      const isMissing = hole !== undefined && atS >= hole.atS && atS < hole.atS + hole.lastingS;
      if (!isMissing) {
        for (const packet of packetizer.packetize({ ...picture, rtpTimestamp, parameterSets })) this.#write(0, packet);
        this.sent += 1;
      }
      if (reports !== undefined && atS - reportedS >= 2) {
        reportedS = atS;
        const ntpMs = Date.now() + (atS >= reports.stepAtS ? reports.byS * 1_000 : 0);
        const report = { ssrc, ...ntpTimeOf(ntpMs), rtpTimestamp: Math.round(steady), packetCount: 0, octetCount: 0 };
        this.#write(1, writeSenderReport(report));
      }
      atS += 1 / (slow !== undefined && atS >= slow.fromS ? slow.fps : fps);
    }
  }

  #write(channel: number, packet: Uint8Array): void {
    if (this.#closed) return;
    const header = Buffer.alloc(4);
    header.writeUInt8(0x24, 0);
    header.writeUInt8(channel, 1);
    header.writeUInt16BE(packet.length, 2);
    this.socket.write(Buffer.concat([header, packet]));
  }
}

/** Sends one request after the other and waits for each answer; throws if an answer isn't 200. */
export function requestsOn(socket: Socket) {
  let cseq = 0;
  let session: string | undefined;
  return async (method: string, url: string, { body = '', transport = '' } = {}): Promise<void> => {
    const lines = [`${method} ${url} RTSP/1.0`, `CSeq: ${++cseq}`];
    if (session !== undefined) lines.push(`Session: ${session}`);
    if (transport !== '') lines.push(`Transport: ${transport}`);
    if (body !== '') lines.push('Content-Type: application/sdp', `Content-Length: ${Buffer.byteLength(body)}`);
    socket.write(`${lines.join('\r\n')}\r\n\r\n${body}`);
    const [answer] = (await once(socket, 'data', { signal: AbortSignal.timeout(10_000) })) as [Buffer];
    const text = answer.toString();
    if (!text.startsWith('RTSP/1.0 200')) throw new Error(`${method} was answered with ${text}`);
    session ??= /^Session: *([^;\r]+)/m.exec(text)?.[1];
  };
}
