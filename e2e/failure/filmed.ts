import { waitFor } from '@weir/testing';
import { z } from 'zod';
import { DEMO_TENANT } from '../bench/demo-user.js';
import type { BenchPlatform } from '../bench/platform.js';
import type { StandInService } from '../bench/stand-in-service.js';
import type { KnownMedia, KnownTrack } from './known-media.js';
import { KnownSource, wallMs } from './known-source.js';
import { RecordedSession } from './recorded-session.js';
import { feedByRtp } from './rtp-feeds.js';
import { pushByRtsp } from './rtsp-connection.js';
import type { UploadDestination } from './upload-destination.js';

const START_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 60_000;
const REQUEST_TIMEOUT_MS = 5_000;
const AGAIN_MS = 250;
const LEAVING_MS = 2_000;

const joint = z.object({ atMs: z.number(), missingMs: z.number() });
const recordingAnswer = z.object({
  id: z.string(),
  state: z.string(),
  reason: z.string(),
  durationMs: z.number().nullable(),
  sizeBytes: z.number().nullable(),
  details: z.looseObject({
    joints: z.array(joint).default([]),
    gaps: z.array(z.looseObject({ atMs: z.number(), lengthMs: z.number() })).default([]),
    /** How often packets didn't come to the recorder. */
    losses: z.number().default(0),
  }),
});
export type RecordingAnswer = z.output<typeof recordingAnswer>;

export interface FilmingPorts {
  readonly platform: BenchPlatform;
  readonly service: StandInService;
  readonly destination: UploadDestination;
  readonly masterKey: string;
  readonly media: KnownMedia;
}

export const FILMED_KINDS = ['H.264 and AAC by RTSP', 'H.264 by RTSP', 'VP8 and Opus by RTP', 'a session'] as const;
export type FilmedKind = (typeof FILMED_KINDS)[number];

/** A source and its recording, which is uploaded to the destination under the source's name. */
export class Filmed {
  /** When the platform said that it was recording. */
  startedMs = 0;
  /** When it was asked to stop for the first time; undefined if its session was lost before. */
  stoppedMs: number | undefined;
  id = '';

  private constructor(
    readonly kind: FilmedKind,
    readonly name: string,
    readonly source: KnownSource,
    readonly session: RecordedSession | undefined,
    private readonly ports: FilmingPorts,
  ) {}

  static async start(kind: FilmedKind, name: string, ports: FilmingPorts): Promise<Filmed> {
    const filmed = await Filmed.#published(kind, name, ports);
    try {
      await filmed.#record();
      return filmed;
    } catch (error) {
      await filmed.close();
      throw error;
    }
  }

  static async #published(kind: FilmedKind, name: string, ports: FilmingPorts): Promise<Filmed> {
    const { platform, service, destination, masterKey } = ports;
    const tracks = tracksOf(kind, ports.media);
    const live = (connect: ConstructorParameters<typeof KnownSource>[1]) =>
      new Filmed(kind, name, new KnownSource(tracks, connect, { reconnects: true }), undefined, ports);
    switch (kind) {
      case 'H.264 and AAC by RTSP':
      case 'H.264 by RTSP': {
        const url = `${platform.rtspUrl}/${DEMO_TENANT}/${name}?token=${platform.operatorKey}`;
        return live(() => pushByRtsp(url, tracks));
      }
      case 'VP8 and Opus by RTP':
        return live(() => feedByRtp(service.bus, name, tracks));
      case 'a session': {
        const { webhookUrl } = destination;
        const options = { httpUrl: platform.httpUrl, masterKey, clientId: name, webhookUrl, tracks };
        const session = await RecordedSession.start(options);
        const source = new KnownSource(tracks, () => Promise.resolve(session.connection), { reconnects: false });
        return new Filmed(kind, name, source, session, ports);
      }
      default:
        return kind satisfies never;
    }
  }

  /** How it is now; undefined if the platform doesn't answer. */
  async look(): Promise<RecordingAnswer | undefined> {
    return this.#ask('GET', `/recordings/${this.id}`).then(
      (answer) => recordingAnswer.parse(answer),
      () => undefined,
    );
  }

  /** Resolves when frames are written that weren't written before. */
  async goesOn(): Promise<void> {
    let before: number | undefined;
    await waitFor(
      async () => {
        const { state, sizeBytes } = (await this.look()) ?? {};
        const isWriting = state === 'recording' && typeof sizeBytes === 'number';
        const hasGrown = isWriting && before !== undefined && sizeBytes > before;
        before = isWriting ? sizeBytes : undefined;
        return hasGrown && this.source.isConnected;
      },
      { timeoutMs: 40_000, intervalMs: 700, what: `the continuation of the recording of ${this.kind}` },
    );
  }

  /** Asks until the platform has answered. */
  async stop(): Promise<void> {
    if (this.session !== undefined) {
      if (this.session.isLost) return;
      this.stoppedMs = wallMs();
      this.session.stop();
      const { session } = this;
      await waitFor(() => session.isLost, { timeoutMs: LEAVING_MS }).catch(() => undefined); // it is killed at this moment
      return;
    }
    this.stoppedMs = wallMs();
    await waitFor(() => this.#ask('POST', `/recordings/${this.id}/stop`), {
      ...{ timeoutMs: STOP_TIMEOUT_MS, intervalMs: AGAIN_MS, what: `the stop of the recording of ${this.kind}` },
    });
  }

  /** Resolves when it is delivered, or nobody tries any more. */
  ended(timeoutMs: number): Promise<RecordingAnswer> {
    return waitFor(
      async () => {
        const answer = await this.look();
        return answer !== undefined && ['delivered', 'failed'].includes(answer.state) && answer;
      },
      { timeoutMs, intervalMs: AGAIN_MS, what: `the delivery of the recording of ${this.kind}` },
    );
  }

  async close(): Promise<void> {
    await this.source.close();
  }

  async #record(): Promise<void> {
    const { destination } = this.ports;
    const url = destination.urlFor(this.name);
    await waitFor(() => this.source.sentMs[0]?.some((sentMs) => sentMs !== undefined), {
      ...{ timeoutMs: START_TIMEOUT_MS, what: `a picture for ${this.kind}` },
    });
    if (this.session !== undefined) this.id = await this.session.record(url);
    else
      this.id = await waitFor(
        async () => {
          const body = { stream: this.name, destination: { kind: 'put', url } };
          return z.object({ id: z.string() }).parse(await this.#ask('POST', '/recordings', body)).id;
        },
        { timeoutMs: START_TIMEOUT_MS, intervalMs: AGAIN_MS, what: `a recording of ${this.kind}` },
      );
    this.startedMs = wallMs();
  }

  async #ask(method: 'GET' | 'POST', path: string, body?: object): Promise<unknown> {
    const { httpUrl, operatorKey } = this.ports.platform;
    const response = await fetch(`${httpUrl}${path}`, {
      ...{ method, signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) },
      headers: { authorization: `Bearer ${operatorKey}`, ...(body && { 'content-type': 'application/json' }) },
      ...(body && { body: JSON.stringify(body) }),
    });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }
}

function tracksOf(kind: FilmedKind, { h264, aac, vp8, opus }: KnownMedia): readonly KnownTrack[] {
  switch (kind) {
    case 'H.264 and AAC by RTSP':
      return [h264, aac];
    case 'H.264 by RTSP':
      return [h264];
    case 'VP8 and Opus by RTP':
    case 'a session':
      return [vp8, opus];
    default:
      return kind satisfies never;
  }
}
