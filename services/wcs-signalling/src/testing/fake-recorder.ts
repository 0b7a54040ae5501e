import { Bus, type Registration } from '@weir/bus';
import {
  ErrorCode,
  StreamRecordingEvents,
  StreamRecordings,
  WeirError,
  type StartStreamRecordingRequest,
} from '@weir/contracts';

/** A recording service that keeps the contract, without files. */
export class FakeRecorder {
  /** The recordings that go on, by their keys. */
  readonly going = new Map<string, StartStreamRecordingRequest & { readonly id: string }>();
  readonly started: StartStreamRecordingRequest[] = [];
  hasRoom = true;
  readonly #served: Registration[];

  private constructor(private readonly bus: Bus) {
    this.#served = [
      bus.serve(StreamRecordings.method.start, (request) => {
        if (!this.hasRoom) throw new WeirError(ErrorCode.EXHAUSTED, 'The disk has too little free space');
        const known = this.going.get(request.key);
        if (known === undefined) this.started.push(request);
        const id = known?.id ?? `recording-${this.started.length}`;
        this.going.set(request.key, { ...request, id });
        this.#tell(request.tenant, request.key, id, true);
        return { recording: recordingOf(id) };
      }),
      bus.serve(StreamRecordings.method.stop, ({ tenant, key }) => {
        const known = this.going.get(key);
        if (known?.tenant !== tenant) return { stoppedCount: 0 };
        this.going.delete(key);
        this.#tell(tenant, key, known.id, false);
        return { stoppedCount: 1 };
      }),
      bus.serve(StreamRecordings.method.list, ({ tenant }) => ({
        recordings: [...this.going]
          .filter(([, recording]) => recording.tenant === tenant)
          .map(([key, { id }]) => ({ key, recording: recordingOf(id) })),
      })),
    ];
  }

  static async start(natsUrl: string): Promise<FakeRecorder> {
    return new FakeRecorder(await Bus.connect({ url: natsUrl, service: 'recording', instanceId: 'recording-fake' }));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#served.map((registration) => registration.close()));
    await this.bus.drain({ graceMs: 200 });
  }

  #tell(tenant: string, key: string, id: string, recordingNow: boolean): void {
    const changed = { tenant, key, recordingNow, recording: recordingOf(id) };
    this.bus.publish(StreamRecordingEvents.method.recordingChanged, changed);
  }
}

const recordingOf = (recordingId: string) => ({
  ...{ recordingId, startedAtMs: 1_700_000_000_000n, fileName: `${recordingId}.mp4` },
});
