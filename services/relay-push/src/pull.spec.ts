import { EndReason } from '@weir/contracts';
import { waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { writePictureLoss } from '@weir/frames';
import { FakeMedia } from './testing/fake-media.js';
import { OriginalServer, type PlayedHere } from './testing/original-server.js';
import { RelayInstance, startSurroundings, type Surroundings } from './testing/relay-instance.js';

let surroundings: Surroundings;
let media: FakeMedia;
let relay: RelayInstance;
let server: OriginalServer;
let sending: NodeJS.Timeout | undefined;

beforeAll(async () => {
  surroundings = await startSurroundings();
  media = await FakeMedia.start(surroundings.nats.url);
  relay = await RelayInstance.start({ ...surroundings.env, WEIR_RELAY_MAX_RETRIES: '5' });
});
beforeEach(async () => {
  server = await OriginalServer.start();
  server.streams.add('far');
});
afterEach(async () => {
  clearInterval(sending);
  await relay.request('POST', 'terminate', { body: { localStreamName: 'near' } });
  await server.kill();
});
afterAll(async () => {
  await relay.stop();
  await media.stop();
  await surroundings.stop();
});

const pull = (localStreamName = 'near', remoteStreamName = 'far') =>
  relay.request('POST', 'pull', { body: { uri: server.uri, localStreamName, remoteStreamName } });

const listed = async () => (await relay.list())[0];

const payloadOf = (sequenceNumber: number) => Buffer.from(`payload ${sequenceNumber}`);

/**
 * Sends media from the other server to the player: VP8 and opus, or the payload types in `sent`; packets for which
 * `skips` is true are lost.
 */
const plays = async ({
  skips = () => false,
  sent = { audio: 111, video: 96 },
}: {
  skips?: (sequenceNumber: number) => boolean;
  sent?: { audio?: number; video?: number };
} = {}): Promise<PlayedHere> => {
  await waitFor(() => server.played.has('far'), { what: 'the player on the other server' });
  const played = server.played.get('far');
  if (played === undefined) throw new Error('unreachable');
  let sequenceNumber = 65_500;
  const answered = new Set<number>();
  sending = setInterval(() => {
    for (const number of played.nacked) {
      if (answered.has(number)) continue;
      answered.add(number);
      played.peer.send('video', { payloadType: 96, sequenceNumber: number, timestamp: 0, payload: payloadOf(number) });
    }
    sequenceNumber = (sequenceNumber + 1) & 0xffff;
    const common = { sequenceNumber, timestamp: sequenceNumber * 900, payload: payloadOf(sequenceNumber) };
    if (sent.video !== undefined && !skips(sequenceNumber))
      played.peer.send('video', { payloadType: sent.video, ...common });
    if (sent.audio !== undefined) played.peer.send('audio', { payloadType: sent.audio, ...common });
  }, 10);
  return played;
};

const feed = async (packets = 50) => {
  await waitFor(() => media.feeds.get('near')?.received.every((track) => track.length > packets) ?? false, {
    what: 'media in the media core',
  });
  const here = media.feeds.get('near');
  if (here?.request.source.case !== 'rtpFeed') throw new Error('unreachable');
  return { tracks: here.request.source.value.tracks, received: here.received };
};

describe('a pull from a server with the original’s answers', () => {
  it('publishes here what comes, in the codec that comes, with an empty 200', async () => {
    const answered = pull();
    await plays();
    expect(await answered).toEqual({ status: 200, body: '' });
    const { tracks, received } = await feed();
    expect(tracks.map(({ track }) => track?.codec)).toEqual(['opus', 'VP8']);
    for (const [index, track] of tracks.entries())
      for (const packet of received[index] ?? []) {
        if (packet.readUInt8(1) === 200) continue;
        expect(packet.readUInt8(1) & 0x7f).toBe(track.payloadType);
        expect(packet.readUInt32BE(8)).toBe(track.ssrc);
        expect(packet.subarray(12)).toEqual(payloadOf(packet.readUInt16BE(2)));
      }
    await waitFor(async () => (await listed())?.status === 'PLAYING', { what: 'the state' });
    expect(server.heard).toEqual(['connection', 'playStream']);
  });

  it('asks the server for a key frame when the media core wants one', async () => {
    const answered = pull();
    const played = await plays();
    await answered;
    const { tracks } = await feed();
    await waitFor(
      () => {
        media.sendToFeeder('near', 1, writePictureLoss(1, tracks[1]?.ssrc ?? 0));
        return played.pictureLosses > 0;
      },
      { what: 'a picture loss at the server', intervalMs: 100 },
    );
  });

  it('asks the server for lost packets, and passes them on', async () => {
    const answered = pull();
    const played = await plays({ skips: (number) => number % 10 === 3 });
    await answered;
    await feed(100);
    await waitFor(() => played.nacked.length > 5, { what: 'requests' });
    const { received } = await feed(200);
    const numbers = new Set(
      received[1]?.filter((packet) => packet.readUInt8(1) !== 200).map((packet) => packet.readUInt16BE(2)),
    );
    expect([...numbers].filter((number) => number % 10 === 3).length).toBeGreaterThan(5);
  });

  it('is ended by terminate: the server is told, the stream is gone', async () => {
    const answered = pull();
    await plays();
    await answered;
    await feed();
    expect(await relay.request('POST', 'terminate', { body: { localStreamName: 'near' } })).toMatchObject({
      status: 200,
    });
    expect(server.heard).toContain('stopStream');
    await waitFor(() => !media.feeds.has('near'), { what: 'the end of the stream' });
    expect(await relay.list()).toEqual([]);
  });
});

describe('what a pull can’t take', () => {
  /** Rewrites the answer so that its video has only these codecs. */
  const withVideo =
    (...codecs: readonly string[]) =>
    (answer: string) =>
      answer
        .replace(/(m=video \d+ RTP\/SAVPF) .*/, `$1 ${codecs.map((_, index) => 120 + index).join(' ')}`)
        .replace(
          'a=rtpmap:96 VP8/90000',
          codecs.map((codec, index) => `a=rtpmap:${120 + index} ${codec}`).join('\r\n'),
        );

  const expectSoundAlone = async (answered: ReturnType<typeof pull>, notCarried: string) => {
    const { status, body } = await answered;
    expect({ status, body: JSON.parse(body) as unknown }).toEqual({ status: 200, body: { notCarried: [notCarried] } });
    const { tracks } = await feed();
    expect(tracks.map(({ track }) => track?.codec)).toEqual(['opus']);
    await waitFor(async () => (await listed())?.status === 'PLAYING', { what: 'the state' });
    expect(await listed()).toMatchObject({ notCarried: [notCarried] });
  };

  it('because the server has it in a codec that can’t be fed is named in the answer and the list', async () => {
    server.amends = withVideo('AV1/90000');
    const answered = pull();
    await plays({ sent: { audio: 111, video: 120 } });
    await expectSoundAlone(answered, 'video AV1: only H264, VP8, VP9 can be taken');
  });

  it('because the server rejects the section is named', async () => {
    server.amends = (answer) => answer.replace(/m=video \d+/, 'm=video 0');
    const answered = pull();
    await plays({ sent: { audio: 111 } });
    await expectSoundAlone(answered, 'video: the other server sends it in none of H264, VP8, VP9');
  });

  it('because it doesn’t come is named', async () => {
    const answered = pull();
    await plays({ sent: { audio: 111 } });
    await expectSoundAlone(answered, 'video: nothing that was agreed on came in time');
  });

  it('is the reason of a 500, without a relay, if it is everything', async () => {
    server.amends = (answer) => withVideo('AV1/90000', 'H265/90000')(answer).replace(/m=audio \d+/, 'm=audio 0');
    const { status, body } = await pull();
    expect(status).toBe(500);
    expect(JSON.parse(body)).toMatchObject({
      error: {
        message:
          'The pull did not come about: No common codecs: ' +
          'audio: the other server sends it in none of opus, G722, PCMU, PCMA; ' +
          'video AV1, H265: only H264, VP8, VP9 can be taken',
      },
    });
    expect(await relay.list()).toEqual([]);
  });

  it('isn’t G.722 or VP9', async () => {
    server.amends = withVideo('VP9/90000');
    const answered = pull();
    await plays({ sent: { audio: 9, video: 120 } });
    expect(await answered).toEqual({ status: 200, body: '' });
    const { tracks } = await feed();
    expect(tracks.map(({ track }) => track?.codec)).toEqual(['G722', 'VP9']);
  });
});

describe('an impossible pull', () => {
  it('under a local name that is in use is 409, without a word to the server', async () => {
    media.publish('near');
    expect(await pull()).toMatchObject({ status: 409 });
    media.endStream('near', EndReason.CLIENT);
    expect(server.heard).toEqual([]);
  });

  it('under a name that is being pulled is 409', async () => {
    const answered = pull();
    await plays();
    expect(await pull('near', 'other')).toMatchObject({ status: 409 });
    expect(await answered).toMatchObject({ status: 200 });
  });

  it('of a stream that the server doesn’t have is 404', async () => {
    expect(await pull('near', 'missing')).toMatchObject({ status: 404 });
    expect(await relay.list()).toEqual([]);
  });
});

describe('the life of a pull', () => {
  it('waits for a remote source that comes back', async () => {
    const answered = pull();
    const played = await plays();
    await answered;
    await feed();
    clearInterval(sending);
    server.streams.delete('far');
    played.end('FAILED', 'Stopped by publisher stop');
    await waitFor(async () => (await listed())?.status === 'PENDING', { what: 'waiting' });
    await waitFor(() => !media.feeds.has('near'), { what: 'the end of the stream' });
    server.streams.add('far');
    await plays();
    await feed();
    await waitFor(async () => (await listed())?.status === 'PLAYING', { what: 'the state' });
  });

  it('is tried again when nothing comes any more, as over a network that was cut', async () => {
    const answered = pull();
    await plays();
    await answered;
    await feed();
    clearInterval(sending);
    media.endFeed('near', EndReason.NO_MEDIA);
    await waitFor(async () => (await listed())?.reason === 'No media have come from the server', {
      what: 'the reason',
    });
    await waitFor(() => server.heard.filter((message) => message === 'playStream').length === 2);
    await plays();
    await feed();
    await waitFor(async () => (await listed())?.status === 'PLAYING', { what: 'the state' });
  });

  it('ends when an operator ends its stream here', async () => {
    const answered = pull();
    await plays();
    await answered;
    await feed();
    media.endFeed('near', EndReason.TERMINATED);
    await waitFor(async () => (await relay.list()).length === 0, { what: 'the end of the relay' });
    expect(server.heard).toContain('stopStream');
  });

  it('is published anew when the media node has died', async () => {
    const answered = pull();
    await plays();
    await answered;
    await feed();
    clearInterval(sending);
    media.endFeed('near', EndReason.NODE_LOST);
    await waitFor(() => server.heard.filter((message) => message === 'playStream').length === 2);
    await plays();
    await feed();
  });
});
