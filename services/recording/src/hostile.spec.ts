import { createSocket } from 'node:dgram';
import { Recorder as FileRecorder } from '@weir/recorder';
import { waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import { MediaNode } from './testing/media-node.js';
import { probed, Recorder, startSurroundings, type Surroundings } from './testing/recorder.js';

const PACKETS = 3_000;
const FATAL = Buffer.from('a packet that no parser can bear');
const ENDLESS = Buffer.from('a packet that no parser comes to the end of');

let around: Surroundings;
let media: MediaNode;
let recorder: Recorder;

beforeAll(async () => {
  around = await startSurroundings();
  media = await MediaNode.start(around.nats.url);
  recorder = await Recorder.start(around.env);
}, 60_000);

afterEach(() => vi.restoreAllMocks());

afterAll(async () => {
  await recorder.stop();
  await media.stop();
  await around.stop();
});

const begun = async (stream: string): Promise<string> => {
  media.publish(stream);
  const { body } = await recorder.request('POST', '/recordings', { body: { stream } });
  return body.id;
};

const bytesOf = (id: string) => recorder.recording.recordings.progressOf(id)?.sizeBytes ?? 0;
const grown = (id: string) => {
  const before = bytesOf(id);
  return waitFor(() => bytesOf(id) > before + 20_000, { what: `more of ${id}`, timeoutMs: 20_000 });
};

const ended = async (id: string) => {
  await recorder.request('POST', `/recordings/${id}/stop`);
  return waitFor(
    async () => {
      const { body } = await recorder.request('GET', `/recordings/${id}`);
      return ['finished', 'failed'].includes(body.state) && body;
    },
    { what: `the end of ${id}`, timeoutMs: 20_000 },
  );
};

const expectWhole = async (id: string): Promise<void> => {
  expect(await ended(id)).toMatchObject({ state: 'finished', reason: 'stopped' });
  const { complaints, pictures } = await probed(recorder.recording.recordings.folderOf(id).filePath('webm'));
  expect(complaints).toBe('');
  expect(pictures).toBeGreaterThan(10);
};

/** Sends to the ports at which the recording of this stream expects its media. */
const sendTo = async (stream: string, packets: Iterable<Buffer>): Promise<void> => {
  const tap = [...media.taps.values()].find(({ streamName }) => streamName === stream);
  if (tap === undefined) return;
  const socket = createSocket('udp4');
  try {
    for (const packet of packets)
      for (const to of [tap.audio, tap.video])
        await new Promise((resolve) => socket.send(packet, to?.port ?? 0, to?.ip, resolve));
  } finally {
    socket.close();
  }
};

/** RTP and RTCP with valid headers, followed by any bytes, and cut off anywhere. */
function* malformed(): Generator<Buffer> {
  let state = 1;
  const below = (limit: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % limit;
  };
  for (let index = 0; index < PACKETS; index++) {
    const packet = Buffer.from(Array.from({ length: below(200) }, () => below(256)));
    const type = [101, 105, 200, 201, 202, 205][below(6)] ?? 0;
    packet.set([0x80 | below(64), type].slice(0, packet.length));
    if (packet.length >= 12) packet.writeUInt32BE(below(2) === 0 ? 2_222 : 1_111, type < 128 ? 8 : 4);
    yield packet;
  }
}

it('a stream of malformed packets spoils neither another recording nor its own file', async () => {
  const [hostile, calm] = [await begun('hostile'), await begun('calm')];
  await Promise.all([grown(hostile), grown(calm)]);
  await sendTo('hostile', malformed());
  await grown(calm);
  await expectWhole(calm);
  const { state, reason } = await ended(hostile);
  expect({ state, reason }).toEqual({ state: 'finished', reason: 'stopped' });
}, 90_000);

it.each([
  {
    what: 'an exception',
    packet: FATAL,
    read: () => {
      throw new RangeError('Offset is outside the bounds of the DataView');
    },
    reason: 'its media could not be read: Offset is outside the bounds of the DataView',
  },
  {
    what: 'an endless loop',
    packet: ENDLESS,
    read: () => {
      for (let steps = 0; steps >= 0;) steps += 1;
    },
    reason: 'its media could not be read: it takes more than 2 s',
  },
])(
  '$what in what reads the media ends one recording, whose file is kept, and no other',
  async (fault) => {
    const take = Object.getOwnPropertyDescriptor(FileRecorder.prototype, 'take')?.value as FileRecorder['take'];
    vi.spyOn(FileRecorder.prototype, 'take').mockImplementation(function (
      this: FileRecorder,
      track,
      packet,
      arrivalMs,
    ) {
      if (fault.packet.equals(packet)) fault.read();
      take.call(this, track, packet, arrivalMs);
    });
    const [fatal, calmer] = [`${fault.what} hits it`, `beside ${fault.what}`];
    const [hostile, calm] = [await begun(fatal), await begun(calmer)];
    await Promise.all([grown(hostile), grown(calm)]);
    const { state, reason, sizeBytes } = await waitFor(
      async () => {
        await sendTo(fatal, [fault.packet]);
        const { body } = await recorder.request('GET', `/recordings/${hostile}`);
        return body.state === 'finished' && body;
      },
      { what: 'the end of the hostile recording', timeoutMs: 40_000, intervalMs: 200 },
    );
    expect({ state, reason }).toEqual({ state: 'finished', reason: fault.reason });
    expect(sizeBytes).toBeGreaterThan(20_000);
    await grown(calm);
    await expectWhole(calm);
  },
  90_000,
);
