import type { ChildProcess } from 'node:child_process';
import type { Socket } from 'node:dgram';
import { isRtcp, setPayloadType, type TrackDescription } from '@weir/frames';
import { bindUdp, type MediumKind } from '@weir/media-client';
import { spawnTied, type Logger } from '@weir/platform';
import { describeRtpInputs } from '@weir/sdp';
import type { StreamPlan } from './track-plan.js';
import { bindUdpRow, freeUdpPorts } from './udp-rows.js';

export interface TranscoderOptions {
  plan: StreamPlan;
  /** ffmpeg makes a key frame at this interval, so that every segment begins with one. */
  segmentMs: number;
  ffmpegBin: string;
  log: Logger;
  /** Gets the RTP and RTCP of the result. */
  onPacket: (kind: MediumKind, packet: Buffer) => void;
  /** Called when it has ended by itself, not by `close`. */
  onEnded: () => void;
}

interface Medium {
  kind: MediumKind;
  source: TrackDescription;
  transcodes: boolean;
  inputPort: number;
  payloadType: number;
}

/**
 * One ffmpeg for one stream. A track that needs no transcoding also passes through it unchanged, because the output has
 * ffmpeg's clock: one muxer sends both tracks, so that their sender reports agree and sound and picture stay in step.
 */
export class Transcoder {
  #closed = false;

  private constructor(
    private readonly options: TranscoderOptions,
    private readonly media: readonly Medium[],
    private readonly outputs: readonly Socket[],
    private readonly relay: Socket,
    private readonly child: ChildProcess,
  ) {}

  static async start(options: TranscoderOptions): Promise<Transcoder> {
    const media = await mediaOf(options.plan);
    const sockets: Socket[] = [];
    try {
      // An RTP and an RTCP port for each medium.
      const outputs = await bindUdpRow(media.length * 2);
      sockets.push(...outputs);
      const relay = await bindUdp('127.0.0.1');
      sockets.push(relay);
      // ffmpeg sends its session description somewhere, so a socket must receive it.
      const announcements = await bindUdp('127.0.0.1');
      sockets.push(announcements);
      const args = ffmpegArguments(
        media,
        options.segmentMs,
        outputs[0]?.address().port ?? 0,
        announcements.address().port,
      );
      const child = spawnTied(options.ffmpegBin, args, { stdio: ['pipe', 'ignore', 'pipe'] });
      const transcoder = new Transcoder(options, media, [...outputs, announcements], relay, child);
      transcoder.#listen(outputs);
      return transcoder;
    } catch (error) {
      for (const socket of sockets) socket.close();
      throw error;
    }
  }

  push(kind: MediumKind, packet: Buffer): void {
    const port = this.media.find((medium) => medium.kind === kind)?.inputPort;
    if (port !== undefined && !this.#closed) this.relay.send(withPayloadType(packet, kind), port, '127.0.0.1');
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.child.kill('SIGKILL');
    for (const socket of [...this.outputs, this.relay]) socket.close();
  }

  #listen(outputs: readonly Socket[]): void {
    const { log, onPacket, ffmpegBin } = this.options;
    this.media.forEach(({ kind }, index) => {
      for (const socket of outputs.slice(index * 2, index * 2 + 2)) {
        socket.on('message', (packet) => {
          if (!this.#closed) onPacket(kind, packet);
        });
      }
    });
    for (const socket of [...this.outputs, this.relay]) {
      socket.on('error', (error) => log.warn({ err: error }, 'a socket of the transcoder failed'));
    }
    let complaint = '';
    this.child.stderr?.on('data', (chunk: Buffer) => {
      complaint = (complaint + chunk.toString()).slice(-500);
    });
    const ended = (fields: object) => {
      if (this.#closed) return;
      log.warn({ ...fields, complaint: complaint.trim() }, 'the transcoder ended');
      this.close();
      this.options.onEnded();
    };
    this.child.on('error', (error) => ended({ err: error, ffmpegBin }));
    this.child.on('close', (exitCode) => ended({ exitCode }));
    this.child.stdin?.on('error', () => undefined); // `close` handles the failure
    this.child.stdin?.end(
      describeRtpInputs(
        this.media.map(({ source, inputPort, payloadType }) => ({ port: inputPort, payloadType, track: source })),
      ),
    );
  }
}

const PAYLOAD_TYPES = { video: 96, audio: 97 } as const;

async function mediaOf({ video, audio }: StreamPlan): Promise<Medium[]> {
  const media: Medium[] = [];
  for (const plan of [video, audio]) {
    if (plan === undefined) continue;
    const { kind } = plan.source;
    const inputPort = await freeUdpPorts();
    media.push({
      kind,
      source: plan.source,
      transcodes: plan.tag === 'transcode',
      inputPort,
      payloadType: PAYLOAD_TYPES[kind],
    });
  }
  return media;
}

/** The source may change its payload type, but ffmpeg knows only one. */
function withPayloadType(packet: Buffer, kind: MediumKind): Buffer {
  if (!isRtcp(packet)) setPayloadType(packet, PAYLOAD_TYPES[kind]);
  return packet;
}

const INPUT = [
  ...['-hide_banner', '-loglevel', 'error', '-protocol_whitelist', 'pipe,udp,rtp'],
  ...['-analyzeduration', '1000000', '-fflags', 'nobuffer', '-max_delay', '200000', '-f', 'sdp', '-i', 'pipe:0'],
];
/** With these options parameter sets are in the stream, and pictures keep their times. */
const TO_H264 = [
  ...['-c:v', 'libx264', '-preset', 'veryfast', '-tune', 'zerolatency', '-profile:v', 'main', '-threads', '2'],
  ...['-flags:v', '-global_header', '-fps_mode:v', 'passthrough'],
  ...['-pix_fmt', 'yuv420p', '-g', '300', '-maxrate', '3M', '-bufsize', '1500k'],
];
const TO_AAC = ['-c:a', 'aac', '-ar', '48000', '-ac', '2', '-b:a', '128k'];

function ffmpegArguments(
  media: readonly Medium[],
  segmentMs: number,
  firstPort: number,
  announcementPort: number,
): string[] {
  const outputs = media.flatMap(({ kind, transcodes }) => {
    const map = ['-map', kind === 'video' ? '0:v:0' : '0:a:0'];
    if (!transcodes) return [...map, kind === 'video' ? '-c:v' : '-c:a', 'copy'];
    if (kind === 'audio') return [...map, ...TO_AAC];
    return [...map, ...TO_H264, '-force_key_frames', `expr:gte(t,n_forced*${segmentMs / 1_000})`];
  });
  const url = `sap://127.0.0.1:${firstPort}?announce_addr=127.0.0.1&announce_port=${announcementPort}&ttl=0`;
  return [...INPUT, ...outputs, '-f', 'sap', url];
}
