import { networkInterfaces } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { NameReservations } from '@weir/access';
import {
  EndReason,
  ErrorCode,
  isWeirError,
  NameClaimSchema,
  PlayRequestSchema,
  PublishRequestSchema,
  type StreamInfo,
} from '@weir/contracts';
import { freePort, startRedis, waitFor, type TestServer } from '@weir/testing';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { RecordedCore, type Overrides } from '../testing/recorded-core.js';
import { StunClient } from '../testing/stun-client.js';
import type { MediaCore } from './core.js';
import { mediaAddresses } from './media-addresses.js';
import { StreamRegistry } from './registry.js';

let redisServer: TestServer;
let redis: Redis;
let recorded: RecordedCore;
let core: MediaCore;

const has = (...told: Parameters<RecordedCore['has']>) => recorded.has(...told);
const ended = (sessionId: string) => recorded.find(sessionId, 'ended');

async function start(overrides: Overrides = {}): Promise<void> {
  recorded = await RecordedCore.start(redis, overrides);
  core = recorded.core;
}

beforeAll(async () => {
  redisServer = await startRedis();
  redis = new Redis(redisServer.url);
});
beforeEach(() => start());
afterEach(() => recorded.close());
afterAll(async () => {
  redis.disconnect();
  await redisServer.stop();
});

/** An offer like a browser's. Payload types are parameters, because players choose their own numbers for codecs. */
const offer = ({ direction = 'sendonly', h264 = 102, opus = 111, video = true } = {}) =>
  [
    ...['v=0', 'o=- 1 2 IN IP4 127.0.0.1', 's=-', 't=0 0', `a=group:BUNDLE 0${video ? ' 1' : ''}`],
    ...mediaLines('audio', opus, direction, '0'),
    ...[`a=rtpmap:${opus} opus/48000/2`, `a=fmtp:${opus} minptime=10;useinbandfec=1`],
    ...(direction === 'sendonly' ? ['a=ssrc:1111 cname:me'] : []),
    ...(video ? [...mediaLines('video', h264, direction, '1'), `a=rtpmap:${h264} H264/90000`] : []),
    ...(video
      ? [
          `a=fmtp:${h264} level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f`,
          `a=rtcp-fb:${h264} nack`,
          `a=rtcp-fb:${h264} nack pli`,
        ]
      : []),
    ...(video && direction === 'sendonly' ? ['a=ssrc:2222 cname:me'] : []),
    '',
  ].join('\r\n');

const addressesOfMachine = () => Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
const hasIpv6Loopback = addressesOfMachine().some(({ address }) => address === '::1');

/** The first fragment of a DTLS handshake that never continues: content type, version, epoch, number, length. */
const CLIENT_HELLO_WITHOUT_END = Buffer.from('16fefd0000000000000000000c010000ff0000000000000000', 'hex');

const FINGERPRINT = Array.from({ length: 32 }, (_unused, index) => (index + 16).toString(16).toUpperCase()).join(':');

const mediaLines = (kind: string, payloadType: number, direction: string, mid: string) => [
  `m=${kind} 9 UDP/TLS/RTP/SAVPF ${payloadType}`,
  ...['c=IN IP4 0.0.0.0', 'a=ice-ufrag:abcd', 'a=ice-pwd:abcdefghijklmnopqrstuvwx', 'a=ice-options:trickle'],
  ...[`a=fingerprint:sha-256 ${FINGERPRINT}`, 'a=setup:actpass', `a=mid:${mid}`, `a=${direction}`, 'a=rtcp-mux'],
];

const publish = (
  sessionId: string,
  streamName = 'cam',
  overrides: Partial<MessageInitShape<typeof PublishRequestSchema>> = {},
) =>
  recorded.webRtc.publish(
    create(PublishRequestSchema, {
      tenant: 'demo',
      streamName,
      sessionId,
      ownerId: 'owner-1',
      offerSdp: offer(),
      ...overrides,
    } as MessageInitShape<typeof PublishRequestSchema>),
  );

const play = (sessionId: string, offerSdp = offer({ direction: 'recvonly' }), streamName = 'cam') =>
  recorded.webRtc.play(
    create(PlayRequestSchema, { tenant: 'demo', streamName, sessionId, ownerId: 'owner-1', offerSdp }),
  );

const foundNames = async () => (await core.findStreams('demo', '')).map((info: StreamInfo) => info.streamName);

describe('the media core', () => {
  it('answers a publisher and lists its stream', async () => {
    const { answerSdp, codecs } = await publish('p1');
    expect(codecs).toEqual({ audio: 'opus', video: 'H264' });
    expect(answerSdp).toContain('a=ice-lite');
    expect(answerSdp).toMatch(/a=candidate:.* 127\.0\.0\.1 \d+ typ host/);
    expect(await foundNames()).toEqual(['cam']);
    expect(recorded.streamEvents).toEqual([{ name: 'cam', what: 'started' }]);
  });

  it('refuses a second publisher of the same stream', async () => {
    await publish('p1');
    await expect(publish('p2')).rejects.toMatchObject({ code: ErrorCode.ALREADY_EXISTS });
    expect(core.load.publishers).toBe(1);
  });

  it('gives a name to a waiting publisher as soon as it is free', async () => {
    await publish('p1');
    const second = publish('p2');
    setTimeout(() => core.closeSession('p1', EndReason.DISCONNECTED), 100);
    await second;
    expect(ended('p1')).toMatchObject({ reason: EndReason.DISCONNECTED });
    expect((await core.findStreams('demo', 'cam'))[0]?.publisherSessionId).toBe('p2');
  });

  it('takes the name of a node that is gone', async () => {
    const elsewhere = new StreamRegistry(redis, 'host:2');
    await elsewhere.claim({ tenant: 'demo', streamName: 'cam', nodeId: 'node-2' });
    await expect(publish('p1')).rejects.toMatchObject({ code: ErrorCode.ALREADY_EXISTS });
    recorded.goneNodes.add('node-2');
    expect(await foundNames()).toEqual([]);
    await publish('p2');
    expect(await foundNames()).toEqual(['cam']);
  });

  it('gives the name of a publisher that has fallen silent to a client that proves to be the same', async () => {
    await publish('p1', 'cam', { claim: { claimer: 'token:1' } });
    await expect(publish('p2', 'cam', { claim: { claimer: 'token:2' } })).rejects.toMatchObject({
      code: ErrorCode.ALREADY_EXISTS,
    });
    await expect(publish('p3')).rejects.toMatchObject({ code: ErrorCode.ALREADY_EXISTS });
    await publish('p4', 'cam', { claim: { claimer: 'token:1' } });
    expect(ended('p1')).toMatchObject({ reason: EndReason.REPLACED });
    expect((await core.findStreams('demo', 'cam'))[0]?.publisherSessionId).toBe('p4');
  });

  it('gives it to such a client on another node too', async () => {
    await publish('p1', 'cam', { claim: { claimer: 'token:1' } });
    const claim = (claimer: string) => create(NameClaimSchema, { claimer });
    expect(await core.yieldName('demo', 'cam', claim('token:2'))).toBe(false);
    expect(await core.yieldName('demo', 'cam', claim(''))).toBe(false);
    expect(await core.yieldName('demo', 'cam', claim('token:1'))).toBe(true);
    expect(await foundNames()).toEqual([]);
  });

  describe('a reserved name', () => {
    const FRONT = 'dog/front';
    const robots = () => new NameReservations({ redis, owner: 'robots' });
    const byOwner = { claim: { owner: 'robots' } };

    beforeEach(() => robots().reserve({ tenant: 'demo', prefix: 'dog/' }));
    afterEach(() => redis.flushall());

    it('can be claimed by its owner and with a right to exactly these names, and by nobody else', async () => {
      for (const claim of [{}, { owner: 'calls' }, { publishPatterns: ['*'] }, { publishPatterns: ['cat/*'] }])
        await expect(publish('p1', FRONT, { claim })).rejects.toMatchObject({ code: ErrorCode.FORBIDDEN });
      await publish('p2', FRONT, { claim: { publishPatterns: ['dog/*'] } });
      core.closeSession('p2', EndReason.CLIENT);
      await publish('p3', FRONT, byOwner);
      await publish('p4', 'dog');
    });

    it('stays reserved when Redis is emptied', async () => {
      await publish('p1', 'cam');
      await redis.flushall();
      await expect(publish('p2', FRONT)).rejects.toMatchObject({ code: ErrorCode.FORBIDDEN });
    });

    it('goes to its owner at once, whoever had it before it was reserved', async () => {
      await robots().release({ tenant: 'demo', prefix: 'dog/' });
      await publish('p1', FRONT);
      await robots().reserve({ tenant: 'demo', prefix: 'dog/' });
      await publish('p2', FRONT, byOwner);
      expect(ended('p1')).toMatchObject({ reason: EndReason.REPLACED });
      await expect(publish('p3', FRONT, byOwner)).rejects.toMatchObject({ code: ErrorCode.ALREADY_EXISTS });
    });

    it('is taken from whoever had it before it was reserved, even if its owner does not ask for it', async () => {
      await robots().release({ tenant: 'demo', prefix: 'dog/' });
      await publish('p1', FRONT);
      await robots().reserve({ tenant: 'demo', prefix: 'dog/' });
      await waitFor(() => ended('p1') !== undefined, { timeoutMs: 10_000 });
      expect(ended('p1')).toMatchObject({ reason: EndReason.REPLACED });
    });
  });

  it('refuses a player of a stream that is not there', async () => {
    await expect(play('v1')).rejects.toMatchObject({ code: ErrorCode.NOT_FOUND });
  });

  it('sends with the payload types of each player, on one pipe per dialect', async () => {
    await publish('p1');
    for (const [index, h264] of [102, 108, 108, 126].entries()) {
      const { answerSdp } = await play(`v${index}`, offer({ direction: 'recvonly', h264 }));
      expect(answerSdp).toContain(`a=rtpmap:${h264} H264/90000`);
      expect(answerSdp).toContain('a=sendonly');
    }
    expect(core.load.players).toBe(4);
    // The numbers 108 and 126 need a pipe for audio and one for video each. 102 is the publisher's own number.
    expect(core.pipeCount).toBe(4);
    for (const index of [0, 1, 2, 3]) core.closeSession(`v${index}`, EndReason.CLIENT);
    expect(core.pipeCount).toBe(0);
  });

  it('answers a player of a stream without video inactive, so that its sound starts', async () => {
    await publish('p1', 'cam', { offerSdp: offer({ video: false }) });
    const { answerSdp, codecs } = await play('v1');
    expect(codecs).toEqual({ audio: 'opus', video: '' });
    expect(answerSdp).toMatch(/m=video [^]*a=inactive/);
  });

  it('refuses a player that has no codec in common with the stream', async () => {
    await publish('p1');
    const vp8 = offer({ direction: 'recvonly' })
      .replaceAll('H264', 'VP8')
      .replace(/a=fmtp:102.*\r\n/, '');
    const neither = vp8.replaceAll('opus/48000/2', 'speex/16000');
    await expect(play('v1', neither)).rejects.toMatchObject({ code: ErrorCode.NO_COMMON_CODECS });
    expect(core.load.players).toBe(0);
    const { answerSdp, codecs, notCarried } = await play('v2', vp8);
    expect(codecs).toEqual({ audio: 'opus', video: '' });
    expect(answerSdp).toMatch(/m=video 0 /);
    expect(notCarried).toEqual(["video H264: the player doesn't take it"]);
  });

  it('names the media of a publisher that it does not take, to the publisher, in the list and to players', async () => {
    const h265 = offer().replaceAll('H264', 'H265');
    const notCarried = ['video H265: no common codec'];
    expect(await publish('p1', 'cam', { offerSdp: h265 })).toMatchObject({ codecs: { video: '' }, notCarried });
    expect(await core.findStreams('demo', 'cam')).toMatchObject([{ notCarried }]);
    expect((await play('v1')).notCarried).toEqual(notCarried);
  });

  it('refuses an offer that is not SDP and leaves the name free', async () => {
    await expect(publish('p1', 'cam', { offerSdp: 'nonsense' })).rejects.toMatchObject({ code: ErrorCode.INVALID });
    await publish('p2');
    expect(core.load).toEqual({ streams: 1, publishers: 1, players: 0 });
  });

  it.each(['', 'x'.repeat(257)])('refuses the stream name %j', async (name) => {
    await expect(publish('p1', name)).rejects.toMatchObject({ code: ErrorCode.INVALID });
  });

  it('refuses more sessions than the node may have', async () => {
    await publish('p0');
    for (let index = 1; index < 8; index += 1) await play(`v${index}`);
    await expect(play('v8')).rejects.toMatchObject({ code: ErrorCode.EXHAUSTED });
  });

  it('ends the players with the stream, each told once', async () => {
    await publish('p1');
    await play('v1');
    await play('v2');
    core.closeSession('p1', EndReason.CLIENT);
    core.closeSession('p1', EndReason.CLIENT);
    expect(recorded.told.filter(({ what }) => what === 'ended')).toEqual([
      { sessionId: 'p1', what: 'ended', reason: EndReason.CLIENT },
      { sessionId: 'v1', what: 'ended', reason: EndReason.STREAM_ENDED },
      { sessionId: 'v2', what: 'ended', reason: EndReason.STREAM_ENDED },
    ]);
    expect(core.load).toEqual({ streams: 0, publishers: 0, players: 0 });
    await waitFor(async () => (await foundNames()).length === 0);
    expect(recorded.workers.list().map(({ transportCount }) => transportCount)).toEqual([0, 0]);
  });

  it('closes the sessions of an owner that is gone', async () => {
    await publish('p1');
    await publish('p2', 'other', { ownerId: 'owner-2' });
    core.closeSessionsOf('owner-1');
    expect(ended('p1')).toMatchObject({ reason: EndReason.OWNER_LOST });
    expect(ended('p2')).toBeUndefined();
  });

  it('gives up a publisher whose ICE never comes', async () => {
    recorded.close();
    await start({ connectTimeoutMs: 100 });
    await publish('p1');
    await waitFor(() => ended('p1') !== undefined);
    expect(ended('p1')).toMatchObject({ reason: EndReason.ICE_TIMEOUT });
    expect(core.load.streams).toBe(0);
  });

  it('tells a client that no answer reaches from one whose DTLS fails', async () => {
    recorded.close();
    await start({ connectTimeoutMs: 2_000 });
    const { answerSdp } = await publish('p1');
    const asks = await StunClient.open(answerSdp);
    await asks.check();
    await waitFor(() => has('p1', 'ended'));
    expect(ended('p1')).toMatchObject({ reason: EndReason.ICE_TIMEOUT });
    asks.close();

    const begins = await StunClient.open((await publish('p2')).answerSdp);
    await begins.check();
    begins.send(CLIENT_HELLO_WITHOUT_END);
    await waitFor(() => has('p2', 'ended'));
    expect(ended('p2')).toMatchObject({ reason: EndReason.DTLS_FAILED });
    begins.close();
  });

  it('answers a client from the announced address that it has asked', async () => {
    recorded.close();
    const announced = ['127.0.0.2', '127.0.0.1', '203.0.113.7', ...(hasIpv6Loopback ? ['::1'] : [])];
    recorded = await RecordedCore.start(
      redis,
      {},
      { addresses: mediaAddresses('0.0.0.0', announced, addressesOfMachine()), firstPort: await freePort() },
    );
    const { answerSdp } = await publish('p1');
    const [ofAudio = ''] = answerSdp.split('m=video');
    const told = [...ofAudio.matchAll(/^a=candidate:\S+ 1 udp \d+ (\S+) /gm)].map(([, address]) => address);
    expect(told).toEqual(announced);
    for (const [index, address] of announced.entries()) {
      if (address === '203.0.113.7') continue; // the address of another machine, in front of this one
      const client = await StunClient.open(answerSdp, index);
      expect(await client.check()).toBe(address);
      client.close();
    }
  });

  it('keeps the mute state for late joiners and hands signals to the players', async () => {
    await publish('p1');
    await play('v1');
    core.signal('demo', 'cam', 'p1', { kind: { case: 'audioMuted', value: true } } as never);
    expect(recorded.told).toContainEqual({ sessionId: 'v1', what: 'signal' });
    expect((await play('v2')).stream.audioMuted).toBe(true);
  });

  it('lets nobody but the publisher speak for a stream', async () => {
    await publish('p1');
    await play('v1');
    const speak = () => core.signal('demo', 'cam', 'v1', { kind: { case: 'dataJson', value: '{}' } } as never);
    expect(speak).toThrow(expect.objectContaining({ code: ErrorCode.FORBIDDEN }) as Error);
  });

  it('ends the streams of a worker that is killed, keeps the others and replaces the worker', async () => {
    await publish('p1', 'one');
    await publish('p2', 'two');
    const [first] = recorded.workers.list();
    process.kill(first?.worker.pid ?? -1, 'SIGKILL');
    await waitFor(() => recorded.told.some(({ what }) => what === 'ended'));
    const lost = recorded.told.filter(({ what }) => what === 'ended');
    expect(lost).toHaveLength(1);
    expect(lost[0]?.reason).toBe(EndReason.NODE_LOST);
    expect(core.load.streams).toBe(1);
    await waitFor(() => recorded.workers.complete);
    await publish('p3', 'three');
    await publish('p4', lost[0]?.sessionId === 'p1' ? 'one' : 'two');
    expect(core.load.streams).toBe(3);
  });

  it('ends everything when it drains', async () => {
    await publish('p1');
    await core.drain();
    expect(ended('p1')).toMatchObject({ reason: EndReason.NODE_SHUTDOWN });
    await expect(publish('p2')).rejects.toMatchObject({ code: ErrorCode.UNAVAILABLE });
    expect(await redis.exists('weir:stream:demo:cam')).toBe(0);
  });

  it('says that a snapshot is not possible without video', async () => {
    await publish('p1', 'cam', { offerSdp: offer({ video: false }) });
    await expect(core.snapshot('demo', 'cam')).rejects.toMatchObject({ code: ErrorCode.UNAVAILABLE });
  });
});

describe('a client that comes while a stream ends', () => {
  it('is told that the stream has ended, whatever part of it fails at that moment', async () => {
    const told: string[] = [];
    for (let round = 0; round < 40; round++) {
      await publish(`p${round}`);
      const joining = [
        play(`v${round}`),
        play(`w${round}`, offer({ direction: 'recvonly', h264: 108, opus: 109 })),
        core.snapshot('demo', 'cam'),
      ].map((each) =>
        each.then(
          () => 'done',
          (error: unknown) => (isWeirError(error) ? ErrorCode[error.code] : String(error)),
        ),
      );
      await sleep(round % 10);
      core.closeSession(`p${round}`, EndReason.DISCONNECTED);
      for (const outcome of await Promise.all(joining)) told.push(outcome);
      for (const viewer of [`v${round}`, `w${round}`]) core.closeSession(viewer, EndReason.CLIENT);
    }
    expect(told.filter((outcome) => outcome !== 'done' && outcome !== 'NOT_FOUND')).toEqual([]);
    expect(told).toContain('NOT_FOUND');
    expect(core.load).toEqual({ streams: 0, publishers: 0, players: 0 });
  });
});
