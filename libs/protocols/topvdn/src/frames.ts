import { z } from 'zod';
import { LENGTHS } from './settings.js';

/** What is sent on the device channel. Both ends read and write it with the functions at the end of this file. */

const cid = z.number().int().min(0).max(0xffffffff);
/** Ids are made by the server, which stores them; a text with other characters is none of its ids. */
const PRINTABLE_ASCII = /^[\x21-\x7e]+$/;
const callId = z.string().max(LENGTHS.callId).regex(PRINTABLE_ASCII, 'is no id');
const messageId = z.string().max(LENGTHS.messageId).regex(PRINTABLE_ASCII, 'is no id');
const sdpText = z.string().min(1).max(LENGTHS.sdp);
/** An offer as text, or as browsers describe it. */
const offer = z.union([sdpText, z.object({ type: z.literal('offer'), sdp: sdpText }).transform(({ sdp }) => sdp)]);

/** What browsers call RTCIceCandidateInit; null and an empty text end the candidates. */
const candidate = z
  .object({
    candidate: z.string().max(LENGTHS.candidate).optional(),
    sdpMid: z.string().max(64).nullish(),
    sdpMLineIndex: z.number().int().min(0).max(255).nullish(),
    usernameFragment: z.string().max(256).nullish(),
  })
  .nullable();
export type Candidate = z.infer<typeof candidate>;

/** Chosen by the device; the answer to its request repeats it. */
const ref = z.string().max(LENGTHS.ref).optional();

const count = z.number().finite().min(0);

/** How media travels in one direction: of what is sent, as its receiver reports it. */
const pathQuality = z.object({
  /** The share of packets that were lost lately, 0 to 1. */
  loss: count.max(1),
  rtt_ms: count.optional(),
  bitrate_bps: count,
});
export type PathQuality = z.infer<typeof pathQuality>;
const quality = z.object({ sent: pathQuality.optional(), received: pathQuality.optional() });
export type Quality = z.infer<typeof quality>;

const deviceRequest = z.discriminatedUnion('type', [
  /** The message arrived; it isn't sent again. */
  z.object({ type: z.literal('ack'), id: messageId }),
  /** Calls the device of the URL, and answers it if it asked for the call. The answer is `opened`. */
  z.object({
    type: z.literal('open'),
    ref,
    url: z.string().max(LENGTHS.url),
    sdp: offer,
    record: z.boolean().optional(),
  }),
  /** Joins a call that was accepted (`ConnectionAcceptted`). The answer is `joined`. */
  z.object({ type: z.literal('join'), ref, call_id: callId, sdp: offer }),
  z.object({ type: z.literal('candidate'), call_id: callId, candidate }),
  z.object({ type: z.literal('close'), ref, call_id: callId }),
  /** Begins ICE again after the network has changed. The answer is `restarted`. */
  z.object({ type: z.literal('restart'), ref, call_id: callId, sdp: offer }),
  /** The whole state of one's own microphone and camera; true is off. */
  z.object({ type: z.literal('mute'), ref, call_id: callId, audio: z.boolean(), video: z.boolean() }),
  /** How the device sees the call's media. */
  z.object({ type: z.literal('quality'), call_id: callId, ...quality.shape }),
  /** The device rings for the call of this URL. */
  z.object({ type: z.literal('ringing'), ref, url: z.string().max(LENGTHS.url) }),
  /** The user refuses the call of this URL. */
  z.object({ type: z.literal('decline'), ref, url: z.string().max(LENGTHS.url) }),
  /** The device gives up the calls that it asked for and that nobody has opened. */
  z.object({ type: z.literal('cancel'), ref }),
  /** Asks what the server knows of the device: sent first on every connection. The answer is `state`. */
  z.object({ type: z.literal('state'), ref }),
  /** For clients that can't send WebSocket pings. The answer is `pong`. */
  z.object({ type: z.literal('ping'), ref }),
]);
export type DeviceRequest = z.infer<typeof deviceRequest>;

/** Why a call ended, for both sides and its record. */
export const END_CAUSES = [
  /** One side closed it. */
  'closed',
  'declined',
  /** The caller gave up before anyone opened. */
  'cancelled',
  /** Nobody opened in time. */
  'ring-timeout',
  /** Another device of the callee opened first. */
  'answered-elsewhere',
  'busy',
  /** The device isn't connected. */
  'unreachable',
  /** Both devices opened each other's URL at once, and the other call was kept. */
  'glare',
  /** The caller didn't join in time. */
  'join-timeout',
  /** No media came from one side in time. */
  'no-media',
  /** The media of one side ended. */
  'silence',
  /** A device's channel was lost and didn't come back in time. */
  'channel-lost',
  /** The path of one side's media is lost, or the media core failed. */
  'media-lost',
  /** The media core didn't take the offer of one side. */
  'refused',
  /** The server that ran the call is gone, and no other one could go on with it. */
  'shutdown',
] as const;
export type EndCause = (typeof END_CAUSES)[number];

/** The `code` of an `error`: the vendor's where there is one for the case, and weir's from -2100 down. */
export const ERROR_CODE = {
  /** A parameter is missing or not valid, a URL or a token among them. */
  parameter: -2000,
  /** Nothing to which the request could apply: no such call, no such message. */
  notFound: -2004,
  /** The same is being done already. */
  inProgress: -2005,
  /** The same was done already. */
  done: -2006,
  /** The device isn't connected. */
  offline: -2007,
  /** The device is in another call. */
  busy: -2100,
  tokenRefused: -2101,
  tokenExpired: -2102,
  /** The token doesn't allow it. */
  forbidden: -2103,
  answeredElsewhere: -2104,
  /** Both opened at once; the other call was kept and is being set up. */
  glare: -2105,
  /** The device can't call itself. */
  self: -2106,
  declined: -2107,
  /** The media core refused the offer. */
  media: -2108,
  /** The server can't do it now; try again. */
  unavailable: -2109,
  tooMany: -2110,
} as const;
export type ErrorCode = (typeof ERROR_CODE)[keyof typeof ERROR_CODE];

/** The messages of the vendor's SDK that weir sends, in the vendor's spelling. */
export const MESSAGE_NAMES = [
  'Online',
  'Offline',
  /** Another device has opened this one's URL. `Message` is JSON: see `acceptance`. */
  'ConnectionAcceptted',
  /** The call has ended. `Message` is JSON: see `closing`. */
  'ConnectionClosed',
  /** A message, as it was pushed: base64. */
  'PopMessage',
  /** A message that was stored because the device was away. */
  'PopOffLineMessage',
  /** The first media of the other side has arrived. `Message` is JSON: `{"call_id"}`. */
  'StartPopData',
] as const;
export type MessageName = (typeof MESSAGE_NAMES)[number];

const iceServers = z
  .array(
    z.object({
      urls: z.array(z.string()).readonly(),
      username: z.string().optional(),
      credential: z.string().optional(),
    }),
  )
  .readonly();
export type IceServers = z.infer<typeof iceServers>;

/** The `Message` of `ConnectionAcceptted`: who has opened. */
export const acceptance = z.object({ call_id: callId, cid, ice_servers: iceServers });
/** The `Message` of `ConnectionClosed`. */
export const closing = z.object({ call_id: callId, cause: z.enum(END_CAUSES) });
export type Closing = z.infer<typeof closing>;
/** The `Message` of `StartPopData`. */
export const mediaStart = z.object({ call_id: callId });

const cloudMessage = z.object({
  Name: z.enum(MESSAGE_NAMES),
  Message: z.string(),
  /** The cid of the device that it comes from; 0 for the application server and the platform. */
  SrcID: cid,
  /** The same as `Name` and `Message`: SDKs differ in which they read. */
  name: z.enum(MESSAGE_NAMES),
  message: z.string(),
  /** Present if the message must be acknowledged. */
  id: z.string().optional(),
});
export type CloudMessage = z.infer<typeof cloudMessage>;

/** A call of the device, as it is told when the device connects. */
const callState = z.object({
  call_id: callId,
  /** The other device. */
  cid,
  /** `opener` has opened the URL, `opened` is the device of the URL. */
  role: z.enum(['opener', 'opened']),
  /** In `connecting` the device of the URL hasn't joined, or no media has come yet. */
  phase: z.enum(['connecting', 'established']),
  peer_muted: z.object({ audio: z.boolean(), video: z.boolean() }),
});
export type CallState = z.infer<typeof callState>;

/** A call that rings: this device was sent the other one's URL, or this one's URL was sent to others. */
const ringState = z.object({ cid, direction: z.enum(['in', 'out']), url: z.string().optional() });
export type RingState = z.infer<typeof ringState>;

const typedEvent = z.discriminatedUnion('type', [
  z.object({ type: z.literal('opened'), ref, call_id: callId, sdp: sdpText }),
  z.object({ type: z.literal('joined'), ref, call_id: callId, sdp: sdpText }),
  z.object({ type: z.literal('restarted'), ref, call_id: callId, sdp: sdpText }),
  z.object({ type: z.literal('candidate'), call_id: callId, candidate }),
  z.object({ type: z.literal('closed'), ref, call_id: callId }),
  /** The other side's microphone and camera. */
  z.object({ type: z.literal('muted'), call_id: callId, audio: z.boolean(), video: z.boolean() }),
  z.object({ type: z.literal('quality'), call_id: callId, ...quality.shape }),
  /** One of the call's media doesn't reach the other side: `sent` is what this device sends. `message` is for people. */
  z.object({ type: z.literal('not-carried'), call_id: callId, way: z.enum(['sent', 'received']), message: z.string() }),
  /** A callee's device rings. */
  z.object({ type: z.literal('ringing'), cid }),
  /** The ringing between this device and `cid` is over. */
  z.object({ type: z.literal('stopped-ringing'), cid, cause: z.enum(END_CAUSES) }),
  z.object({
    type: z.literal('state'),
    ref,
    cid,
    calls: z.array(callState).readonly(),
    rings: z.array(ringState).readonly(),
    ice_servers: iceServers,
  }),
  /** A request was done that has no answer of its own. */
  z.object({ type: z.literal('done'), ref }),
  z.object({ type: z.literal('pong'), ref }),
  z.object({
    type: z.literal('error'),
    ref,
    call_id: callId.optional(),
    code: z.number().int().max(-1),
    message: z.string(),
  }),
]);
export type TypedEvent = z.infer<typeof typedEvent>;

/** What the server sends: a message as the vendor's SDK raises it, or a frame with a type. */
export type DeviceEvent = CloudMessage | TypedEvent;
export const deviceEvent = z.union([typedEvent, cloudMessage]);

export const cloudMessageOf = (name: MessageName, message: string, srcCid: number, id?: string): CloudMessage => ({
  ...{ Name: name, Message: message, SrcID: srcCid, name, message },
  ...(id !== undefined && { id }),
});

const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
};

const ofAnyType = z.looseObject({
  type: z.string(),
  ref: ref.catch(undefined),
  call_id: callId.optional().catch(undefined),
});

export type ReadRequest =
  | { readonly tag: 'request'; readonly request: DeviceRequest }
  /** A request that can't be carried out; the error is its answer. */
  | { readonly tag: 'refused'; readonly error: Extract<DeviceEvent, { type: 'error' }> }
  /** Not a request. */
  | { readonly tag: 'malformed'; readonly error: Extract<DeviceEvent, { type: 'error' }> };

const errorOf = (message: string, addressed: { ref?: string | undefined; call_id?: string | undefined } = {}) => ({
  type: 'error' as const,
  ...(addressed.ref !== undefined && { ref: addressed.ref }),
  ...(addressed.call_id !== undefined && { call_id: addressed.call_id }),
  code: ERROR_CODE.parameter,
  message,
});

/** Reads a text frame of a device. No text throws. */
export const readRequest = (text: string): ReadRequest => {
  if (text.length > LENGTHS.frame) return { tag: 'malformed', error: errorOf('The frame is too long') };
  const json = parseJson(text);
  const any = ofAnyType.safeParse(json);
  if (!any.success) return { tag: 'malformed', error: errorOf('The frame is no JSON object with a type') };
  const parsed = deviceRequest.safeParse(json);
  if (parsed.success) return { tag: 'request', request: parsed.data };
  const [issue] = parsed.error.issues;
  const at = issue === undefined || issue.path.length === 0 ? 'The frame' : issue.path.join('.');
  const problem =
    issue?.code === 'invalid_union' && issue.path[0] === 'type'
      ? `There is no request of the type ${JSON.stringify(any.data.type.slice(0, 64))}`
      : `${at}: ${issue?.message ?? 'not valid'}`;
  return { tag: 'refused', error: errorOf(problem, any.data) };
};

/** Reads a text frame of the server. Undefined if it is none that this version knows. */
export const readEvent = (text: string): DeviceEvent | undefined => deviceEvent.safeParse(parseJson(text)).data;

export const encodeRequest = (request: DeviceRequest): string => JSON.stringify(request);
export const encodeEvent = (event: DeviceEvent): string => JSON.stringify(event);
