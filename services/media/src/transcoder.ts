import type { ChildProcess } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { randomInt } from 'node:crypto';
import { metrics } from '@opentelemetry/api';
import { ErrorCode, WeirError, type StreamInfo } from '@weir/contracts';
import { DECODER_LIMITS, describeTooLarge, isTooLargeToDecode, SCALE_TO_SCREEN } from '@weir/frames';
import { describeRtpInputs, type StreamCodec } from '@weir/sdp';
import { spawnTied, type Logger } from '@weir/platform';
import { backOffMs } from '@weir/timing';
import type { types as mediasoup } from 'mediasoup';
import { dialectKey } from './dialect.js';
import { PipedProducer } from './piped-producer.js';
import { Shared } from './shared-value.js';
import {
  producerOptionsOf,
  TRANSCODED,
  TRANSCODED_PAYLOAD_TYPES,
  TRANSCODED_ROUTER_CODECS,
  type LentTrack,
  type Track,
  type Transcoding,
} from './track.js';
import { freeUdpPorts } from './udp-ports.js';
import type { RouterLease } from './worker-pool.js';

const meter = metrics.getMeter('@weir/media');
const running = meter.createUpDownCounter('weir.media.transcodes', {
  description: 'Streams being transcoded for WebRTC players at this moment.',
});

const RESTART_PACE = { firstMs: 1_000, maxMs: 30_000 };
/** After a run of this length, the next restart has the shortest delay again. */
const STABLE_MS = 10_000;
/** ffmpeg misses the packets before it listens, so a source that makes key frames on request is asked for some. */
const KEY_FRAME_REQUESTS = 5;
const KEY_FRAME_REQUEST_INTERVAL_MS = 1_000;

interface Output {
  track: Track;
  piped: PipedProducer;
  transport: mediasoup.PlainTransport;
  inputPort: number;
  stopListening: () => void;
  /** The port that ffmpeg sends from. It is fixed, so that the transport also accepts a restarted ffmpeg. */
  sourcePort: number;
  payloadType: number;
  ssrc: number;
}

interface Run {
  outputs: Output[];
  socket: Socket;
  child: ChildProcess | undefined;
  restart: NodeJS.Timeout | undefined;
  /** The number of restarts since ffmpeg last ran for `STABLE_MS`. */
  restarts: number;
  keyFrames: NodeJS.Timeout | undefined;
  giveBack: () => void;
}

export interface TranscodersOptions {
  ffmpegBin: string;
  log: Logger;
  /** The most ffmpeg processes at a time. */
  maxTranscodes: number;
}

/** Limits all transcoding of a node. */
export class Transcoders {
  #count = 0;

  constructor(readonly options: TranscodersOptions) {}

  /** @throws WeirError EXHAUSTED */
  reserve(): () => void {
    const { maxTranscodes } = this.options;
    if (this.#count >= maxTranscodes)
      throw new WeirError(ErrorCode.EXHAUSTED, 'no more streams can be transcoded now; see WEIR_MEDIA_MAX_TRANSCODES', {
        maxTranscodes: String(maxTranscodes),
      });
    this.#count += 1;
    running.add(1);
    let isGivenBack = false;
    return () => {
      if (isGivenBack) return;
      isGivenBack = true;
      this.#count -= 1;
      running.add(-1);
    };
  }
}

export interface StreamTranscoderOptions {
  transcoders: Transcoders;
  /** All tracks of the stream. */
  tracks: () => readonly Track[];
  cname: string;
  info: StreamInfo;
}

/**
 * Runs one ffmpeg for one stream, only while a player needs its output for WebRTC: H.264 without B-frames and Opus,
 * from any codec of the source. A track that needs transcoding later than the others gets an ffmpeg of its own.
 */
export class StreamTranscoder implements Transcoding {
  /** The ffmpeg of each track. It runs from the first user of its output to the last. */
  readonly #runs = new Map<Track, Shared<Run>>();

  constructor(private readonly options: StreamTranscoderOptions) {}

  get active(): boolean {
    return this.#runs.size > 0;
  }

  /** @throws WeirError NO_COMMON_CODECS when the picture is too large, EXHAUSTED */
  async lend(track: Track, to: RouterLease): Promise<LentTrack> {
    const run = this.#runs.get(track) ?? this.#share(track, to);
    const { value, release } = await run.use();
    try {
      const output = value.outputs.find((candidate) => candidate.track === track);
      if (output === undefined) throw new Error('the transcoder has no output for its track');
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
    for (const run of new Set(this.#runs.values())) run.end();
  }

  #share(track: Track, to: RouterLease): Shared<Run> {
    const { info, transcoders } = this.options;
    if (track.description.kind === 'video' && isTooLargeToDecode(info))
      throw new WeirError(ErrorCode.NO_COMMON_CODECS, describeTooLarge(info, 'transcoding'));
    const tracks = this.options.tracks().filter((each) => each.needsTranscoding && !this.#runs.has(each));
    const run = new Shared(this.#start(tracks, to, transcoders.reserve()), {
      close,
      onOver: () => {
        for (const each of tracks) this.#runs.delete(each);
      },
    });
    for (const each of tracks) this.#runs.set(each, run);
    return run;
  }

  async #start(tracks: readonly Track[], to: RouterLease, giveBack: () => void): Promise<Run> {
    const socket = createSocket('udp4');
    const { log } = this.options.transcoders.options;
    socket.on('error', (error) => log.warn({ err: error }, 'packets don’t reach the transcoder'));
    const run: Run = {
      ...{ outputs: [], socket, child: undefined, restart: undefined, keyFrames: undefined, giveBack },
      restarts: 0,
    };
    let home: RouterLease | undefined;
    try {
      home = await to.worker.leaseRouter(dialectKey(TRANSCODED_ROUTER_CODECS), TRANSCODED_ROUTER_CODECS);
      const ports = await freeUdpPorts(tracks.length * 2);
      for (const [index, track] of tracks.entries())
        run.outputs.push(
          await this.#openOutput(track, home.share(), socket, ports[index * 2] ?? 0, ports[index * 2 + 1] ?? 0),
        );
      this.#startFfmpeg(run);
      return run;
    } catch (error) {
      close(run);
      throw error;
    } finally {
      home?.release();
    }
  }

  async #openOutput(
    track: Track,
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
      const codec: StreamCodec = TRANSCODED[track.description.kind];
      const payloadType = TRANSCODED_PAYLOAD_TYPES[codec.kind];
      // ffmpeg takes the SSRC as a signed number.
      const ssrc = randomInt(1, 0x7f_ff_ff_ff);
      const producer = await transport.produce(
        producerOptionsOf(codec, { payloadType, ssrc, cname: this.options.cname }),
      );
      const stopListening = await track.listen({
        onRtp: ({ bytes }) => socket.send(bytes, inputPort, '127.0.0.1'),
        onRtcp: (packet) => socket.send(packet, inputPort + 1, '127.0.0.1'),
      });
      const piped = new PipedProducer(() => producer, lease);
      return { track, piped, transport, inputPort, stopListening, sourcePort, payloadType, ssrc };
    } catch (error) {
      transport.close();
      throw error;
    }
  }

  #startFfmpeg(run: Run): void {
    const { ffmpegBin, log } = this.options.transcoders.options;
    const { streamName } = this.options.info;
    const startedMs = performance.now();
    const child = spawnTied(ffmpegBin, ffmpegArguments(run.outputs), { stdio: ['pipe', 'ignore', 'pipe'] });
    run.child = child;
    askForKeyFrames(run);
    let complaint = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      complaint = (complaint + chunk.toString()).slice(-500);
    });
    child.on('error', (error) => log.error({ err: error, ffmpegBin }, 'ffmpeg does not start; see FFMPEG_BIN'));
    child.on('close', (exitCode) => {
      if (run.child !== child) return;
      if (performance.now() - startedMs > STABLE_MS) run.restarts = 0;
      const delayMs = backOffMs(RESTART_PACE, run.restarts++);
      log.warn({ streamName, exitCode, complaint: complaint.trim(), delayMs }, 'transcoder ended, it is started again');
      run.restart = setTimeout(() => this.#startFfmpeg(run), delayMs);
    });
    child.stdin?.on('error', () => undefined); // `close` handles the failure
    child.stdin?.end(
      describeRtpInputs(
        run.outputs.map(({ track, inputPort }) => ({
          port: inputPort,
          payloadType: track.payloadType,
          track: track.description,
        })),
      ),
    );
  }
}

function askForKeyFrames(run: Run): void {
  clearInterval(run.keyFrames);
  let requests = 0;
  run.keyFrames = setInterval(() => {
    requests += 1;
    for (const { track } of run.outputs) if (track.description.kind === 'video') track.requestKeyFrame();
    if (requests === KEY_FRAME_REQUESTS) clearInterval(run.keyFrames);
  }, KEY_FRAME_REQUEST_INTERVAL_MS);
}

function close(run: Run): void {
  clearTimeout(run.restart);
  clearInterval(run.keyFrames);
  const { child } = run;
  run.child = undefined;
  child?.kill('SIGKILL');
  for (const { stopListening, transport } of run.outputs) {
    stopListening();
    transport.close();
  }
  run.socket.close();
  run.giveBack();
}

const INPUT = [
  ...['-hide_banner', '-loglevel', 'error', '-protocol_whitelist', 'pipe,udp,rtp'],
  ...[...DECODER_LIMITS, '-analyzeduration', '1000000', '-fflags', 'nobuffer', '-f', 'sdp', '-i', 'pipe:0'],
];
const TO_H264 = [
  ...['-map', '0:v:0', '-c:v', 'libx264', '-preset', 'veryfast', '-tune', 'zerolatency', '-profile:v', 'baseline'],
  ...['-vf', SCALE_TO_SCREEN, '-pix_fmt', 'yuv420p', '-threads', '2', '-maxrate', '3M', '-bufsize', '1500k'],
  ...['-g', '300', '-force_key_frames', 'expr:gte(t,n_forced)'],
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
