/**
 * The minimum for calls: one process with a `ws` server and one mediasoup worker, no bus, no registry, no tokens, no
 * records. It speaks as much of the device channel as a call needs, so that the same client measures both, and negotiates
 * with the same code as weir. It runs as a separate program; see ChildProgram.
 */
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { cloudMessageOf, encodeEvent, readRequest, type DeviceEvent, type DeviceRequest } from '@weir/protocol-topvdn';
import { negotiateBothWays, parseOffer, sentIn, writeAnswer, type AnswerSection, type TwoWaySection } from '@weir/sdp';
import type { types as mediasoup } from 'mediasoup';
import { WebSocketServer, type WebSocket } from 'ws';
import { announce } from './child-program.js';
import { MAX_BITRATE_BPS, RawWorker } from './raw-worker.js';

export interface RawCallsReady {
  /** A device connects with its cid as its token; the URL that opens it is its cid, too. */
  port: number;
}

interface Device {
  readonly cid: number;
  readonly socket: WebSocket;
}

interface Leg {
  readonly transport: mediasoup.WebRtcTransport;
  readonly sections: readonly TwoWaySection[];
  readonly producers: readonly mediasoup.Producer[];
  readonly answerSdp: string;
}

interface Call {
  readonly caller: Device;
  readonly callee: Device;
  readonly legs: Leg[];
}

const raw = await RawWorker.start();
const devices = new Map<number, Device>();
const calls = new Map<string, Call>();

const httpServer = createServer();
new WebSocketServer({ server: httpServer, perMessageDeflate: false, clientTracking: false }).on(
  'connection',
  (socket, { url = '' }) => {
    const device = { cid: Number(new URLSearchParams(url.split('?')[1]).get('client_token')), socket };
    devices.set(device.cid, device);
    socket.on('message', (data: Buffer) => {
      const read = readRequest(data.toString());
      if (read.tag !== 'request') throw new Error(`not a request: ${data.toString()}`);
      void answer(device, read.request);
    });
    socket.on('error', () => undefined); // `close` follows
    socket.on('close', () => devices.delete(device.cid));
  },
);
httpServer.listen(0, '127.0.0.1', () => {
  const ready: RawCallsReady = { port: (httpServer.address() as AddressInfo).port };
  announce(ready);
});

const tell = ({ socket }: Device, event: DeviceEvent) => socket.send(encodeEvent(event));

async function answer(device: Device, request: DeviceRequest): Promise<void> {
  const { cid } = device;
  const ref = 'ref' in request ? { ref: request.ref } : {};
  switch (request.type) {
    case 'state':
      return tell(device, { type: 'state', ...ref, cid, calls: [], rings: [], ice_servers: [] });
    case 'open': {
      const caller = devices.get(Number(request.url));
      if (caller === undefined) throw new Error(`no device ${request.url}`);
      const callId = randomUUID();
      const leg = await openLeg(request.sdp);
      calls.set(callId, { caller, callee: device, legs: [leg] });
      tell(device, { type: 'opened', ...ref, call_id: callId, sdp: leg.answerSdp });
      const acceptance = JSON.stringify({ call_id: callId, cid, ice_servers: [] });
      return tell(caller, cloudMessageOf('ConnectionAcceptted', acceptance, cid));
    }
    case 'join': {
      const call = calls.get(request.call_id);
      const [first] = call?.legs ?? [];
      if (call === undefined || first === undefined) throw new Error(`no call ${request.call_id}`);
      const leg = await openLeg(request.sdp);
      call.legs.push(leg);
      tell(device, { type: 'joined', ...ref, call_id: request.call_id, sdp: leg.answerSdp });
      await Promise.all([send(first, leg), send(leg, first)]);
      return;
    }
    case 'close': {
      const call = calls.get(request.call_id);
      calls.delete(request.call_id);
      for (const { transport } of call?.legs ?? []) transport.close();
      const other = call?.caller === device ? call.callee : call?.caller;
      const closing = JSON.stringify({ call_id: request.call_id, cause: 'closed' });
      if (other !== undefined) tell(other, cloudMessageOf('ConnectionClosed', closing, cid));
      return tell(device, { type: 'closed', ...ref, call_id: request.call_id });
    }
    case 'ping':
      return tell(device, { type: 'pong', ...ref });
    case 'ack':
    case 'candidate':
    case 'restart':
    case 'mute':
    case 'quality':
    case 'ringing':
    case 'decline':
    case 'cancel':
      return; // the calls that are measured need none of it
    default:
      request satisfies never;
  }
}

async function openLeg(sdp: string): Promise<Leg> {
  const offer = parseOffer(sdp);
  const { sections } = negotiateBothWays(offer, { videoCodecs: ['VP8'] });
  const router = await raw.routerFor(sections);
  const transport = await raw.openTransport(router, offer);
  await transport.setMaxIncomingBitrate(MAX_BITRATE_BPS);
  const received = sections.filter((section) => section.tag === 'receive');
  const producers = await Promise.all(
    received.map(({ kind, rtpParameters }) =>
      transport.produce({ kind, rtpParameters: rtpParameters as mediasoup.RtpParameters }),
    ),
  );
  const named = sections.map((section): AnswerSection => {
    if (section.tag !== 'send' && !(section.tag === 'receive' && section.back !== undefined)) return section;
    const { id } = transport;
    return { ...section, sent: { cname: id, streamId: id, trackId: `${id}-${section.kind}` } };
  });
  const answerSdp = writeAnswer({ offer, transports: [transport], sections: named, originId: 1 });
  return { transport, sections, producers, answerSdp };
}

/** Sends the client of a leg what the other one's sends. Both number their codecs alike, so they have the same router. */
async function send(to: Leg, from: Leg): Promise<void> {
  for (const section of to.sections.flatMap((each) => sentIn(each) ?? [])) {
    const producer = from.producers.find(({ kind }) => kind === section.kind);
    if (producer === undefined) throw new Error(`the other side sends no ${section.kind}`);
    await to.transport.consume({
      producerId: producer.id,
      rtpCapabilities: section.rtpCapabilities as mediasoup.RtpCapabilities,
      enableRtx: section.kind === 'video',
    });
  }
}
