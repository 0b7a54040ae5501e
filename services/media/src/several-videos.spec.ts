import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { NameReservations } from '@weir/access';
import { EndReason, ErrorCode, PlayRequestSchema, PublishRequestSchema } from '@weir/contracts';
import { startRedis, waitFor, type TestServer } from '@weir/testing';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { RecordedCore } from '../testing/recorded-core.js';

let redisServer: TestServer;
let redis: Redis;
let recorded: RecordedCore;

beforeAll(async () => {
  redisServer = await startRedis();
  redis = new Redis(redisServer.url);
});
beforeEach(async () => {
  recorded = await RecordedCore.start(redis);
});
afterEach(() => recorded.close());
afterAll(async () => {
  redis.disconnect();
  await redisServer.stop();
});

const FINGERPRINT = Array.from({ length: 32 }, () => 'AB').join(':');

interface Section {
  kind: 'audio' | 'video';
  ssrc: number;
  codec?: string;
  direction?: 'sendonly' | 'inactive';
}

const opus = (ssrc: number): Section => ({ kind: 'audio', ssrc, codec: 'opus/48000/2' });
const vp8 = (ssrc: number, more: Partial<Section> = {}): Section => ({
  kind: 'video',
  ssrc,
  codec: 'VP8/90000',
  ...more,
});

/** A browser's offer with these sections, in a BUNDLE group. A payload type belongs to one codec. */
function offer(sections: readonly Section[], { ufrag = 'abcd', fingerprint = FINGERPRINT } = {}): string {
  const payloadTypes = new Map([
    ['opus/48000/2', 111],
    ['VP8/90000', 96],
    ['VP9/90000', 98],
  ]);
  return [
    ...['v=0', 'o=- 1 2 IN IP4 127.0.0.1', 's=-', 't=0 0'],
    `a=group:BUNDLE ${sections.map((_section, index) => index).join(' ')}`,
    ...sections.flatMap(({ kind, ssrc, codec = '', direction = 'sendonly' }, index) => [
      `m=${kind} 9 UDP/TLS/RTP/SAVPF ${payloadTypes.get(codec)}`,
      ...['c=IN IP4 0.0.0.0', `a=ice-ufrag:${ufrag}`, 'a=ice-pwd:abcdefghijklmnopqrstuvwx'],
      ...[`a=fingerprint:sha-256 ${fingerprint}`, 'a=setup:actpass', `a=mid:${index}`, `a=${direction}`, 'a=rtcp-mux'],
      `a=rtpmap:${payloadTypes.get(codec)} ${codec}`,
      ...(direction === 'sendonly' ? [`a=ssrc:${ssrc} cname:me`] : []),
    ]),
    '',
  ].join('\r\n');
}

const publish = (sections: readonly Section[], request: Partial<MessageInitShape<typeof PublishRequestSchema>> = {}) =>
  recorded.webRtc.publish(
    create(PublishRequestSchema, {
      ...{ tenant: 'demo', streamName: 'cam', sessionId: 'p1', ownerId: 'owner', offerSdp: offer(sections) },
      furtherStreamNames: ['cam/2', 'cam/3'],
      ...request,
    } as MessageInitShape<typeof PublishRequestSchema>),
  );
const offerAgain = (sections: readonly Section[], more?: Parameters<typeof offer>[1]) =>
  recorded.webRtc.renegotiate('p1', offer(sections, more));

const found = async () =>
  (await recorded.core.findStreams('demo', '')).sort((a, b) => (a.streamName < b.streamName ? -1 : 1));
const foundNames = async () => (await found()).map(({ streamName }) => streamName);
const namesOf = ({ streams }: { streams: { streamName: string }[] }) => streams.map(({ streamName }) => streamName);
const events = () => recorded.streamEvents.map(({ name, what }) => `${name} ${what}`);
const nothingIsLeft = async () => {
  expect(recorded.core.load).toEqual({ streams: 0, publishers: 0, players: 0 });
  await waitFor(async () => (await redis.keys('weir:stream:demo:*')).length === 0);
  expect(recorded.workers.list().map(({ transportCount, routerCount }) => [transportCount, routerCount])).toEqual([
    [0, 0],
    [0, 0],
  ]);
};

describe('a publisher of several videos', () => {
  it('has a stream for each, all of one session', async () => {
    const { streams, codecs } = await publish([opus(1), vp8(2), vp8(3), vp8(4)]);
    expect(codecs).toEqual({ audio: 'opus', video: 'VP8' });
    expect(streams).toEqual([
      { streamName: 'cam', codecs: { audio: 'opus', video: 'VP8' } },
      { streamName: 'cam/2', codecs: { audio: '', video: 'VP8' } },
      { streamName: 'cam/3', codecs: { audio: '', video: 'VP8' } },
    ]);
    expect((await found()).map(({ streamName, publisherSessionId }) => [streamName, publisherSessionId])).toEqual([
      ['cam', 'p1'],
      ['cam/2', 'p1'],
      ['cam/3', 'p1'],
    ]);
    expect(recorded.core.load).toEqual({ streams: 3, publishers: 1, players: 0 });
  });

  it('ends with all its streams, and is told once', async () => {
    await publish([opus(1), vp8(2), vp8(3)]);
    recorded.core.closeSession('p1', EndReason.CLIENT);
    recorded.core.closeSession('p1', EndReason.CLIENT);
    expect(recorded.told.filter(({ what }) => what === 'ended')).toEqual([
      { sessionId: 'p1', what: 'ended', reason: EndReason.CLIENT },
    ]);
    expect(events()).toEqual(['cam started', 'cam/2 started', 'cam ended', 'cam/2 ended']);
    await nothingIsLeft();
  });

  it('ends when one of its streams is taken away', async () => {
    await publish([vp8(2), vp8(3)]);
    recorded.core.streamOf('demo', 'cam/2').end(EndReason.REPLACED);
    expect(recorded.find('p1', 'ended')).toMatchObject({ reason: EndReason.REPLACED });
    await nothingIsLeft();
  });

  it('gets all its names or none', async () => {
    await publish([vp8(9)], { streamName: 'cam/2', sessionId: 'other', furtherStreamNames: [] });
    await expect(publish([vp8(2), vp8(3)])).rejects.toMatchObject({ code: ErrorCode.ALREADY_EXISTS });
    expect(await foundNames()).toEqual(['cam/2']);
    await publish([vp8(2)]);
    expect(await foundNames()).toEqual(['cam', 'cam/2']);
  });

  it('claims each name with its right', async () => {
    await new NameReservations({ redis, owner: 'robots' }).reserve({ tenant: 'demo', prefix: 'rec/' });
    const names = { streamName: 'rec/a', furtherStreamNames: ['rec/a/2'] };
    await expect(publish([vp8(2), vp8(3)], names)).rejects.toMatchObject({ code: ErrorCode.FORBIDDEN });
    await publish([vp8(2), vp8(3)], { ...names, claim: { owner: 'robots' } as never });
    expect((await found()).map(({ nameOwner }) => nameOwner)).toEqual(['robots', 'robots']);
  });

  it('is told of the videos for which there is no name', async () => {
    const { streams, notCarried } = await publish([vp8(2), vp8(3), vp8(4)], { furtherStreamNames: ['cam/2'] });
    expect(namesOf({ streams })).toEqual(['cam', 'cam/2']);
    expect(notCarried).toEqual(['video VP8: only 2 video sections are received']);
  });

  it('sends the codecs that the request prefers, and no others', async () => {
    const both = offer([vp8(2)])
      .replace(' 96\r\n', ' 96 98\r\n')
      .replace('a=ssrc', 'a=rtpmap:98 VP9/90000\r\na=ssrc');
    const { codecs } = await publish([], { offerSdp: both, videoCodecs: ['VP9', 'VP8'] });
    expect(codecs.video).toBe('VP9');
    const only = (videoCodecs: string[]) => publish([vp8(2)], { sessionId: 'p2', streamName: 'other', videoCodecs });
    await expect(only(['H264'])).rejects.toMatchObject({ code: ErrorCode.NO_COMMON_CODECS });
    await expect(only(['MPEG2'])).rejects.toMatchObject({ code: ErrorCode.INVALID });
  });

  it.each([[['cam']], [['a', 'a']], [['1', '2', '3', '4', '5', '6', '7', '8']], [['']]])(
    'is refused with the further names %j',
    async (furtherStreamNames) => {
      const videos = [vp8(2), vp8(3)];
      await expect(publish(videos, { furtherStreamNames })).rejects.toMatchObject({ code: ErrorCode.INVALID });
      await nothingIsLeft();
    },
  );
});

describe('a further offer', () => {
  it('adds videos, with another codec too, while the streams that are there go on', async () => {
    await publish([opus(1), vp8(2)]);
    const { streams, answerSdp } = await offerAgain([opus(1), vp8(2), vp8(3, { codec: 'VP9/90000' })]);
    expect(streams.map(({ streamName, codecs }) => [streamName, codecs.video])).toEqual([
      ['cam', 'VP8'],
      ['cam/2', 'VP9'],
    ]);
    expect(answerSdp.match(/a=recvonly/g)).toHaveLength(3);
    expect(namesOf(await offerAgain([opus(1), vp8(2), vp8(3, { codec: 'VP9/90000' }), vp8(4)]))).toEqual([
      ...['cam', 'cam/2', 'cam/3'],
    ]);
    expect(events()).toEqual(['cam started', 'cam/2 started', 'cam/3 started']);
  });

  it('removes a video, whose name the next new one gets', async () => {
    await publish([vp8(2), vp8(3), vp8(4)]);
    expect(namesOf(await offerAgain([vp8(2), vp8(3, { direction: 'inactive' }), vp8(4)]))).toEqual(['cam', 'cam/3']);
    expect(recorded.streamEvents.at(-1)).toMatchObject({ name: 'cam/2', what: 'ended', reason: EndReason.CLIENT });
    expect(recorded.has('p1', 'ended')).toBe(false);
    const withNew = [vp8(2), vp8(3, { direction: 'inactive' }), vp8(4), vp8(5)];
    expect(namesOf(await offerAgain(withNew))).toEqual(['cam', 'cam/2', 'cam/3']);
    expect(events().slice(3)).toEqual(['cam/2 ended', 'cam/2 started']);
  });

  it('begins a stream anew when its video has another SSRC, and no other stream', async () => {
    await publish([opus(1), vp8(2), vp8(3)]);
    const [first] = await found();
    await offerAgain([opus(1), vp8(2), vp8(33)]);
    expect(events().slice(2)).toEqual(['cam/2 ended', 'cam/2 started']);
    await offerAgain([opus(1), vp8(22), vp8(33)]);
    expect(events().slice(4)).toEqual(['cam ended', 'cam started']);
    expect((await found())[0]?.epoch).toBeGreaterThan(first?.epoch ?? 0n);
  });

  it('leaves a stream whose video is away with its sound', async () => {
    await publish([opus(1), vp8(2)]);
    expect(namesOf(await offerAgain([opus(1), vp8(2, { direction: 'inactive' })]))).toEqual(['cam']);
    expect(events()).toEqual(['cam started']);
  });

  it('may take back everything and publish again', async () => {
    await publish([vp8(2)]);
    const { streams, answerSdp } = await offerAgain([vp8(2, { direction: 'inactive' })]);
    expect(streams).toEqual([]);
    expect(answerSdp).toContain('a=inactive');
    expect(await foundNames()).toEqual([]);
    expect(namesOf(await offerAgain([vp8(3)]))).toEqual(['cam']);
    recorded.core.closeSession('p1', EndReason.CLIENT);
    await nothingIsLeft();
  });

  it('restarts ICE when it has other credentials, and only then', async () => {
    const { answerSdp } = await publish([vp8(2)]);
    const fragmentOf = (sdp: string) => /^a=ice-ufrag:(.*)\r$/m.exec(sdp)?.[1];
    const versionOf = (sdp: string) =>
      /^o=- (\d+ \d+)/
        .exec(sdp.split('\r\n')[1] ?? '')?.[1]
        ?.split(' ')
        .map(Number);
    const same = (await offerAgain([vp8(2)])).answerSdp;
    expect(fragmentOf(same)).toBe(fragmentOf(answerSdp));
    const [id, version = 0] = versionOf(answerSdp) ?? [];
    expect(versionOf(same)).toEqual([id, version + 1]);
    const restarted = (await offerAgain([vp8(2)], { ufrag: 'efgh' })).answerSdp;
    expect(fragmentOf(restarted)).not.toBe(fragmentOf(answerSdp));
    expect(fragmentOf((await offerAgain([vp8(2)], { ufrag: 'efgh' })).answerSdp)).toBe(fragmentOf(restarted));
    expect(events()).toEqual(['cam started']);
  });

  it('changes nothing when it can not be used', async () => {
    await publish([opus(1), vp8(2)]);
    const refused = (sdp: string) =>
      recorded.webRtc.renegotiate('p1', sdp).then(
        () => 'accepted',
        (error: { code: ErrorCode }) => ErrorCode[error.code],
      );
    expect(await refused('nonsense')).toBe('INVALID');
    expect(await refused(offer([opus(1), vp8(2)], { fingerprint: FINGERPRINT.replace('AB', 'CD') }))).toBe('INVALID');
    const ownTransport = offer([opus(1), vp8(2), vp8(3)]).replace('BUNDLE 0 1 2', 'BUNDLE 0 1');
    expect(await refused(ownTransport)).toBe('INVALID');
    await publish([vp8(9)], { streamName: 'cam/2', sessionId: 'other', furtherStreamNames: [] });
    expect(await refused(offer([opus(1), vp8(2), vp8(3)]))).toBe('ALREADY_EXISTS');
    expect(events()).toEqual(['cam started', 'cam/2 started']);
    expect(namesOf(await offerAgain([opus(1), vp8(2)]))).toEqual(['cam']);
  });

  it('is answered after the one before, and not at all when the session has ended', async () => {
    await publish([vp8(2)]);
    const answers = [offerAgain([vp8(2), vp8(3)]), offerAgain([vp8(2), vp8(3, { direction: 'inactive' })])];
    expect((await Promise.all(answers)).map(namesOf)).toEqual([['cam', 'cam/2'], ['cam']]);
    const late = offerAgain([vp8(2), vp8(3), vp8(4)]);
    recorded.core.closeSession('p1', EndReason.CLIENT);
    await expect(late).rejects.toMatchObject({ code: ErrorCode.NOT_FOUND });
    await expect(offerAgain([vp8(2)])).rejects.toMatchObject({ code: ErrorCode.NOT_FOUND });
    await nothingIsLeft();
  });
});

describe('a player of all videos of a publisher', () => {
  it('is told once of a video that it can not get, and gets those after it', async () => {
    await publish([opus(1), vp8(2)]);
    const offerSdp = offer([opus(11), vp8(12)]).replaceAll('a=sendonly', 'a=recvonly');
    const names = { streamName: 'cam', furtherStreamNames: ['cam/2', 'cam/3'] };
    await recorded.webRtc.play(
      create(PlayRequestSchema, { ...{ tenant: 'demo', sessionId: 'v', ownerId: 'owner', offerSdp }, ...names }),
    );
    const toldOfIt = () => recorded.told.filter(({ sessionId }) => sessionId === 'v');
    const vp9 = vp8(3, { codec: 'VP9/90000' });
    await offerAgain([opus(1), vp8(2), vp9]);
    await waitFor(() => recorded.has('v', 'not-carried'));
    await offerAgain([opus(1), vp8(2), vp9, vp8(4)]);
    await waitFor(() => recorded.has('v', 'offer'));
    expect(toldOfIt().map(({ what, detail }) => [what, detail])).toEqual([
      ['not-carried', "cam/2: video/VP9 can't be sent: the client has no codec or no section for it"],
      ['offer', undefined],
    ]);
  });
});
