/**
 * The minimum for publishing and playing: one process with a `ws` server and one mediasoup worker, no bus, no registry,
 * no access control. It speaks as much WCS as the WebSDK needs, so that the same client measures both, and negotiates
 * with the same code as weir, so that both carry the same codecs. It runs as a separate program; see ChildProgram.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { negotiatePlay, negotiatePublish, parseOffer, writeAnswer, type AnswerSection, type Offer } from '@weir/sdp';
import type { types as mediasoup } from 'mediasoup';
import { WebSocketServer, type WebSocket } from 'ws';
import { z } from 'zod';
import { announce } from './child-program.js';
import { MAX_BITRATE_BPS, RawWorker } from './raw-worker.js';

export interface RawMediasoupReady {
  port: number;
  workerPid: number;
}

interface Published {
  router: mediasoup.Router;
  producers: { codec: Parameters<typeof negotiatePlay>[1]['video']; producer: mediasoup.Producer }[];
}

const frame = z.object({ message: z.string(), data: z.array(z.unknown()) });
const request = z.object({
  mediaSessionId: z.string(),
  name: z.string(),
  sdp: z.string(),
  minBitrate: z.number().default(0),
  maxBitrate: z.number().default(0),
});
const stop = z.object({ mediaSessionId: z.string() });

const raw = await RawWorker.start();
const streams = new Map<string, Published>();
const pipes = new Map<string, Promise<string>>();

const httpServer = createServer();
new WebSocketServer({ server: httpServer, perMessageDeflate: false, clientTracking: false }).on('connection', serve);
httpServer.listen(0, '127.0.0.1', () => {
  const ready: RawMediasoupReady = { port: (httpServer.address() as AddressInfo).port, workerPid: raw.pid };
  announce(ready);
});

function serve(socket: WebSocket): void {
  const sessions = new Map<string, () => void>();
  const send = (message: string, ...data: unknown[]) => socket.send(JSON.stringify({ message, data }));
  socket.on('message', (text: Buffer) => {
    const { message, data } = frame.parse(JSON.parse(text.toString()));
    if (message === 'connection') {
      send('getUserData', { authToken: '/raw', status: 'ESTABLISHED' });
    } else if (message === 'publishStream' || message === 'playStream') {
      const asked = request.parse(data[0]);
      const join = message === 'publishStream' ? publish : play;
      join(asked, {
        answered: (sdp, close) => {
          sessions.set(asked.mediaSessionId, close);
          send('setRemoteSDP', asked.mediaSessionId, sdp, true);
        },
        connected: () =>
          send('notifyStreamStatusEvent', {
            mediaSessionId: asked.mediaSessionId,
            status: message === 'publishStream' ? 'PUBLISHING' : 'PLAYING',
          }),
      }).catch((error: unknown) =>
        send('notifyStreamStatusEvent', {
          mediaSessionId: asked.mediaSessionId,
          status: 'FAILED',
          info: String(error),
        }),
      );
    } else if (message === 'unPublishStream' || message === 'stopStream') {
      const { mediaSessionId } = stop.parse(data[0]);
      sessions.get(mediaSessionId)?.();
      sessions.delete(mediaSessionId);
      const status = message === 'unPublishStream' ? 'UNPUBLISHED' : 'STOPPED';
      send('notifyStreamStatusEvent', { mediaSessionId, status });
    }
  });
  socket.on('error', () => undefined); // `close` follows
  socket.on('close', () => {
    for (const close of sessions.values()) close();
  });
}

interface Joining {
  answered(sdp: string, close: () => void): void;
  connected(): void;
}

async function publish({ name, sdp, minBitrate, maxBitrate }: z.output<typeof request>, joining: Joining) {
  const offer = parseOffer(sdp);
  const { sections } = negotiatePublish(offer);
  const router = await raw.routerFor(sections);
  const transport = await openTransport(router, offer, joining);
  await transport.setMaxIncomingBitrate(maxBitrate * 1_000 || MAX_BITRATE_BPS);
  const producers = await Promise.all(
    sections.flatMap((section) =>
      section.tag === 'receive'
        ? [
            transport
              .produce({ kind: section.kind, rtpParameters: section.rtpParameters as mediasoup.RtpParameters })
              .then((producer) => ({ codec: section.streamCodec, producer })),
          ]
        : [],
    ),
  );
  streams.set(name, { router, producers });
  const bitrate = { minBps: minBitrate * 1_000, maxBps: maxBitrate * 1_000 };
  const answerSdp = writeAnswer({ offer, transports: [transport], sections, bitrate, originId: 1 });
  joining.answered(answerSdp, () => {
    streams.delete(name);
    transport.close();
  });
}

async function play({ mediaSessionId, name, sdp }: z.output<typeof request>, joining: Joining) {
  const stream = streams.get(name);
  if (stream === undefined) throw new Error('Stream not found');
  const offer = parseOffer(sdp);
  const codecOf = (kind: string) => stream.producers.find(({ producer }) => producer.kind === kind)?.codec;
  const [audio, video] = [codecOf('audio'), codecOf('video')];
  const { sections } = negotiatePlay(offer, { ...(audio && { audio }), ...(video && { video }) });
  const router = await raw.routerFor(sections);
  const transport = await openTransport(router, offer, joining);
  const answers: AnswerSection[] = await Promise.all(
    sections.map(async (section) => {
      if (section.tag !== 'send') return section;
      const producer = stream.producers.find((each) => each.producer.kind === section.kind)?.producer;
      if (producer === undefined) throw new Error('a negotiated section has no producer');
      const consumer = await transport.consume({
        producerId: await producerOn(router, stream, producer),
        rtpCapabilities: section.rtpCapabilities as mediasoup.RtpCapabilities,
        enableRtx: section.kind === 'video',
      });
      const ssrc = consumer.rtpParameters.encodings?.[0]?.ssrc ?? 0;
      const trackId = `${mediaSessionId}-${section.kind}`;
      return { ...section, sent: { ssrc, cname: mediaSessionId, streamId: mediaSessionId, trackId } };
    }),
  );
  const answerSdp = writeAnswer({ offer, transports: [transport], sections: answers, originId: 1 });
  joining.answered(answerSdp, () => transport.close());
}

async function openTransport(router: mediasoup.Router, offer: Offer, joining: Joining) {
  const transport = await raw.openTransport(router, offer);
  transport.on('dtlsstatechange', (state) => {
    if (state === 'connected') joining.connected();
  });
  return transport;
}

/** Players that number their codecs differently from the publisher get the stream over a pipe, which is kept. */
function producerOn(router: mediasoup.Router, stream: Published, producer: mediasoup.Producer): Promise<string> {
  if (router.id === stream.router.id) return Promise.resolve(producer.id);
  const key = `${router.id}/${producer.id}`;
  let piped = pipes.get(key);
  if (piped === undefined) {
    piped = stream.router
      .pipeToRouter({ producerId: producer.id, router, keepId: false })
      .then(({ pipeProducer }) => pipeProducer?.id ?? '');
    pipes.set(key, piped);
  }
  return piped;
}
