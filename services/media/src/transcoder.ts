import type { ChildProcess } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { randomInt } from 'node:crypto';
import { metrics } from '@opentelemetry/api';
import { spawnTied, type Logger } from '@weir/platform';
import type { types as mediasoup } from 'mediasoup';
import { TRANSCODED_AUDIO, TRANSCODED_VIDEO, type NativeTrack, type Transcoding } from './native-track.js';
import { PipedProducer } from './piped-producer.js';
import type { LentTrack } from './track.js';
import { freeUdpPorts } from './udp-ports.js';
import type { RouterLease } from './worker-pool.js';

const meter = metrics.getMeter('@weir/media');
const running = meter.createUpDownCounter('weir.media.transcodes', {
  description: 'Streams being transcoded for WebRTC players at this moment.',
});

const RESTART_DELAY_MS = 1_000;

interface Output {
  track: NativeTrack;
  piped: PipedProducer;
  transport: mediasoup.PlainTransport;
  inputPort: number;
  stopListening: () => void;
  /** Where ffmpeg sends from; fixed, so that one that is started again is heard. */
  sourcePort: number;
  payloadType: number;
  ssrc: number;
}

interface Run {
  outputs: Output[];
  socket: Socket;
  child: ChildProcess | undefined;
  restart: NodeJS.Timeout | undefined;
}

export interface StreamTranscoderOptions {
  /** The stream's tracks that WebRTC can't carry. */
  tracks: () => readonly NativeTrack[];
  cname: string;
  ffmpegBin: string;
  streamName: string;
  log: Logger;
}

/**
 * One ffmpeg for one stream, and only while a WebRTC player needs what it makes: H.264 without B-frames and Opus, of
 * whatever the source sends.
 */
export class StreamTranscoder implements Transcoding {
  private run: Promise<Run> | undefined;
  private users = 0;

  constructor(private readonly options: StreamTranscoderOptions) {}

  get active(): boolean {
    return this.run !== undefined;
  }

  async lend(track: NativeTrack, to: RouterLease): Promise<LentTrack> {
    this.users += 1;
    let released = false;
    const release = () => {
      if (released) return;
      released = true;
      this.users -= 1;
      if (this.users === 0) this.stop();
    };
    try {
      this.run ??= this.start(to);
      const { outputs } = await this.run;
      const output = outputs.find((candidate) => candidate.track === track);
      if (output === undefined) throw new Error('the track began to need transcoding after its stream did');
      const lent = await output.piped.lend(to);
      return {
        ...lent,
        release: () => {
          lent.release();
          release();
        },
      };
    } catch (error) {
      release();
      throw error;
    }
  }

  stop(): void {
    const { run } = this;
    this.run = undefined;
    run?.then(close, () => undefined); // who asked for the track has met the error
  }

  private async start(to: RouterLease): Promise<Run> {
    const socket = createSocket('udp4');
    socket.on('error', (error) => this.options.log.warn({ err: error }, 'packets don’t reach the transcoder'));
    const run: Run = { outputs: [], socket, child: undefined, restart: undefined };
    try {
      const tracks = this.options.tracks();
      const ports = await freeUdpPorts(tracks.length * 2);
      for (const [index, track] of tracks.entries())
        run.outputs.push(
          await this.openOutput(track, to.share(), socket, ports[index * 2] ?? 0, ports[index * 2 + 1] ?? 0),
        );
      running.add(1);
      this.startFfmpeg(run);
      return run;
    } catch (error) {
      close(run);
      throw error;
    }
  }

  private async openOutput(
    track: NativeTrack,
    lease: RouterLease,
    socket: Socket,
    inputPort: number,
    sourcePort: number,
  ): Promise<Output> {
    const transport = await lease.router.createPlainTransport({
      listenInfo: { protocol: 'udp', ip: '127.0.0.1' },
      rtcpMux: true,
      comedia: false,
    });
    transport.observer.once('close', () => lease.release());
    try {
      await transport.connect({ ip: '127.0.0.1', port: sourcePort });
      const codec = track.description.kind === 'video' ? TRANSCODED_VIDEO : TRANSCODED_AUDIO;
      const payloadType = codec.kind === 'video' ? 96 : 97;
      // ffmpeg takes the SSRC as a signed number.
      const ssrc = randomInt(1, 0x7f_ff_ff_ff);
      const producer = await transport.produce({
        kind: codec.kind,
        rtpParameters: {
          codecs: [
            {
              mimeType: codec.mimeType as mediasoup.RtpCodecParameters['mimeType'],
              clockRate: codec.clockRate,
              ...(codec.channels === undefined ? {} : { channels: codec.channels }),
              parameters: codec.parameters,
              payloadType,
            },
          ],
          encodings: [{ ssrc }],
          rtcp: { cname: this.options.cname },
        },
      });
      const stopListening = await track.listen({
        onRtp: (packet) => socket.send(packet, inputPort, '127.0.0.1'),
        onRtcp: (packet) => socket.send(packet, inputPort + 1, '127.0.0.1'),
      });
      const piped = new PipedProducer(() => producer, lease);
      return { track, piped, transport, inputPort, stopListening, sourcePort, payloadType, ssrc };
    } catch (error) {
      transport.close();
      throw error;
    }
  }

  private startFfmpeg(run: Run): void {
    const { ffmpegBin, streamName, log } = this.options;
    const child = spawnTied(ffmpegBin, ffmpegArguments(run.outputs), { stdio: ['pipe', 'ignore', 'pipe'] });
    run.child = child;
    let complaint = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      complaint = (complaint + chunk.toString()).slice(-500);
    });
    child.on('error', (error) => log.error({ err: error, ffmpegBin }, 'ffmpeg does not start; see FFMPEG_BIN'));
    child.on('close', (exitCode) => {
      if (run.child !== child) return;
      log.warn({ streamName, exitCode, complaint: complaint.trim() }, 'transcoder ended, it is started again');
      run.restart = setTimeout(() => this.startFfmpeg(run), RESTART_DELAY_MS);
    });
    child.stdin?.on('error', () => undefined); // its end tells
    child.stdin?.end(inputSdp(run.outputs));
  }
}

function close(run: Run): void {
  clearTimeout(run.restart);
  const { child } = run;
  if (child !== undefined) running.add(-1);
  run.child = undefined;
  child?.kill('SIGKILL');
  for (const { stopListening, transport } of run.outputs) {
    stopListening();
    transport.close();
  }
  run.socket.close();
}

/** The source's tracks as ffmpeg shall read them. */
const inputSdp = (outputs: readonly Output[]): string =>
  [
    ...['v=0', 'o=- 0 0 IN IP4 127.0.0.1', 's=-', 'c=IN IP4 127.0.0.1', 't=0 0'],
    ...outputs.flatMap(({ track, inputPort }) => {
      const { kind, codec, clockRate, channels, parameters } = track.description;
      const fmtp = Object.entries(parameters).map(([name, value]) => (value === '' ? name : `${name}=${value}`));
      const rate = channels > 0 ? `${clockRate}/${channels}` : String(clockRate);
      return [
        `m=${kind} ${inputPort} RTP/AVP ${track.payloadType}`,
        `a=rtpmap:${track.payloadType} ${codec}/${rate}`,
        ...(fmtp.length > 0 ? [`a=fmtp:${track.payloadType} ${fmtp.join('; ')}`] : []),
      ];
    }),
    '',
  ].join('\r\n');

const INPUT = [
  ...['-hide_banner', '-loglevel', 'error', '-protocol_whitelist', 'pipe,udp,rtp'],
  ...['-analyzeduration', '1000000', '-fflags', 'nobuffer', '-f', 'sdp', '-i', 'pipe:0'],
];
const TO_H264 = [
  ...['-map', '0:v:0', '-c:v', 'libx264', '-preset', 'veryfast', '-tune', 'zerolatency', '-profile:v', 'baseline'],
  ...['-pix_fmt', 'yuv420p', '-g', '30', '-maxrate', '3M', '-bufsize', '1500k'],
];
const TO_OPUS = ['-map', '0:a:0', '-c:a', 'libopus', '-ar', '48000', '-ac', '2', '-b:a', '96k'];

const ffmpegArguments = (outputs: readonly Output[]): string[] => [
  ...INPUT,
  ...outputs.flatMap(({ track, transport, sourcePort, payloadType, ssrc }) => {
    const port = transport.tuple.localPort;
    return [
      ...(track.description.kind === 'video' ? TO_H264 : TO_OPUS),
      ...['-payload_type', String(payloadType), '-ssrc', String(ssrc), '-f', 'rtp'],
      `rtp://127.0.0.1:${port}?pkt_size=1200&rtcpport=${port}&localrtpport=${sourcePort}`,
    ];
  }),
];
