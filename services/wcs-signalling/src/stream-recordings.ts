import type { Bus, Registration } from '@weir/bus';
import {
  StreamRecordingEvents,
  StreamRecordings as Recorder,
  type StreamRecording as ContractRecording,
} from '@weir/contracts';
import type { Logger } from '@weir/platform';
import type { Effect, Input, StreamId, StreamRecording } from '@weir/protocol-wcs';
import type { SessionOwner } from './media-effects.js';
import type { Sessions } from './sessions.js';

export interface StreamRecordingsPorts {
  readonly bus: Pick<Bus, 'call' | 'subscribe'>;
  readonly log: Logger;
}

export interface RecordedStream {
  readonly tenant: string;
  readonly streamName: string;
  /** The publisher's session in the media core. */
  readonly key: string;
  readonly labels: Readonly<Record<string, string>>;
}

export interface RecordingWishes {
  /** For people. */
  readonly name: string;
  /** 0: the recording isn't split. */
  readonly splitMs: number;
  readonly splitBytes: number;
}

const NO_WISHES: RecordingWishes = { name: '', splitMs: 0, splitBytes: 0 };

/** The recordings of streams that clients or operators switch on by WCS. The service `recording` makes them. */
export class StreamRecordings {
  constructor(private readonly ports: StreamRecordingsPorts) {}

  /** Never rejects: a stream that can't be recorded goes on without a recording. */
  async record(
    { streamId, streamName, mediaSessionId }: Extract<Effect, { tag: 'record' }>,
    { tenant, labels }: Pick<SessionOwner, 'tenant' | 'labels'>,
  ): Promise<Input> {
    try {
      const recording = await this.start({
        ...{ tenant, streamName, key: streamId },
        labels: { protocol: 'wcs', mediaSessionId, ...labels },
      });
      return { tag: 'recording-changed', streamId, recording };
    } catch (error) {
      this.ports.log.warn({ err: error, tenant, streamName, mediaSessionId }, 'a stream goes on without its recording');
      return { tag: 'recording-refused', streamId };
    }
  }

  /** Throws the WeirError of the service `recording`, or of the bus when it can't be reached. */
  async start(stream: RecordedStream, wishes: RecordingWishes = NO_WISHES): Promise<StreamRecording> {
    const { recording } = await this.ports.bus.call(Recorder.method.start, {
      ...{ ...stream, labels: { ...stream.labels } },
      ...{ ...wishes, splitBytes: BigInt(wishes.splitBytes) },
    });
    return recordingOf(recording, true);
  }

  /** @returns how many recordings it has ended */
  async stop({ tenant, key }: RecordedStream): Promise<number> {
    return (await this.ports.bus.call(Recorder.method.stop, { tenant, key })).stoppedCount;
  }

  /** The names of the files that are being recorded, by the keys of their streams. */
  async going(tenant: string): Promise<ReadonlyMap<string, string>> {
    const { recordings } = await this.ports.bus.call(Recorder.method.list, { tenant });
    return new Map(recordings.map(({ key, recording }) => [key, recordingOf(recording, true).fileName]));
  }

  /** Tells sessions when recordings of their streams begin and end, whoever starts and stops them. */
  tell(sessions: Pick<Sessions, 'ownerOf'>): Registration {
    return this.ports.bus.subscribe(StreamRecordingEvents.method.recordingChanged, (changed) => {
      const session = sessions.ownerOf(changed.key);
      if (session?.tenant !== changed.tenant) return;
      const recording = recordingOf(changed.recording, changed.recordingNow);
      session.take({ tag: 'recording-changed', streamId: changed.key as StreamId, recording });
    });
  }
}

const recordingOf = (recording: ContractRecording | undefined, active: boolean): StreamRecording => ({
  id: recording?.recordingId ?? '',
  active,
  startedMs: Number(recording?.startedAtMs ?? 0n) || undefined,
  fileName: recording?.fileName ?? '',
});
