import { z } from 'zod';
import { MESSAGE_FLAG } from './delivery-schedule.js';
import { ISSUED_TOKEN, LENGTHS, MAX_MESSAGE_BYTES } from './settings.js';

/** The bodies and answers of the Web API, side by side. The names of the fields are the vendor's. */

/** A device's id. The vendor's table calls it a text and its examples a number, so both are read. */
const cid = z
  .union([
    z.number().int(),
    z
      .string()
      .regex(/^\d{1,10}$/)
      .transform(Number),
  ])
  .pipe(z.number().min(0).max(0xffffffff));
/** A device's id in a path. */
export const cidInPath = z
  .string()
  .regex(/^\d{1,10}$/)
  .transform(Number)
  .pipe(z.number().max(0xffffffff));

const requestId = z.string();
const token = z.string().min(1).max(LENGTHS.token);

/** The most items of one list in a request. */
const MAX_ITEMS = 1_000;
export const MAX_PAGE_SIZE = 100;

/** Every answer but an image: `request_id` is in the header `X-Request-ID` too. */
export const doneAnswer = z.strictObject({ request_id: requestId });
export type DoneAnswer = z.infer<typeof doneAnswer>;
/** An answer with another status than 200. The vendor documents only the status. */
export const errorAnswer = z.strictObject({ message: z.string(), request_id: requestId });

// POST /v2/devices/state

/** A size above `MAX_PAGE_SIZE` is for 406. */
export const stateQuery = z.object({
  size: z.coerce.number().int().min(1).default(20),
  page: z.coerce.number().int().min(1).max(1_000_000).default(1),
});
/** All devices of the app without `cids`, or with an empty list. */
export const stateBody = z.object({ cids: z.array(cid).max(MAX_ITEMS).nullish() });

/** What a device does now, as numbers. */
export const DEVICE_STATE = {
  offline: 0,
  ready: 1,
  /** It is being given a place where to send. */
  obtainingRelay: 2,
  /** It connects to that place. */
  connectingRelay: 3,
  /** It sends. */
  pushing: 4,
  disconnectingRelay: 5,
} as const;
export type DeviceState = (typeof DEVICE_STATE)[keyof typeof DEVICE_STATE];

/** Who may watch a device, and what is kept. */
export const CONFIG_TYPE = {
  private: 0,
  privateBroadcast: 1,
  public: 2,
  privateRecorded: 3,
  publicRecorded: 4,
  events: 6,
} as const;

const connection = {
  state: z.literal(Object.values(DEVICE_STATE)),
  tracker_ip: z.string(),
  tracker_port: z.number(),
  public_ip: z.string(),
  public_port: z.number(),
  local_ip: z.string(),
  local_port: z.number(),
  config_type: z.literal(Object.values(CONFIG_TYPE)),
  conn_key: z.number(),
  relay_ip: z.string(),
  relay_port: z.number(),
};

export const deviceEntry = z.strictObject({
  cid: z.number(),
  ...connection,
  /** Opens for a day. */
  cover_url: z.string(),
  /** Empty for private devices. */
  rtmp_url: z.string(),
  /** A playlist; empty while the device sends nothing. weir's opens for some minutes, without a further token. */
  hls: z.string(),
});
export type DeviceEntry = z.infer<typeof deviceEntry>;

export const stateAnswer = z.strictObject({
  init_string: z.string(),
  devices: z.array(deviceEntry).readonly(),
  total: z.number(),
  size: z.number(),
  page: z.number(),
  request_id: requestId,
});

// GET /v2/devices/ids

export const CID_USAGE = { push: 1, view: 2 } as const;
/** Both ends belong to the range. */
export const cidRange = z.strictObject({
  begin: z.number(),
  end: z.number(),
  usage: z.literal(Object.values(CID_USAGE)),
});
export type CidRange = z.infer<typeof cidRange>;
export const idsAnswer = z.strictObject({
  app_id: z.string(),
  cids: z.array(cidRange).readonly(),
  request_id: requestId,
});

export const isInRanges = (id: number, ranges: readonly Pick<CidRange, 'begin' | 'end'>[]): boolean =>
  ranges.some(({ begin, end }) => begin <= id && id <= end);

// POST /v2/devices/tokens

export const tokensBody = z.object({
  /** A value outside the allowed ones counts as the default, as the vendor documents it. */
  duration: z.number().int().min(1).max(ISSUED_TOKEN.maxS).catch(ISSUED_TOKEN.defaultS),
  cids: z.array(cid).min(1).max(MAX_ITEMS),
});
export const tokensAnswer = z.strictObject({
  tokens: z.array(z.strictObject({ cid: z.number(), token: z.string() })).readonly(),
  request_id: requestId,
});

// POST /v2/devices/auth and /v2/devices/auth/cancellation

const appId = z.string().min(1).max(64);
export const authBody = z.object({
  cids: z.array(z.object({ cid, token })).min(1).max(MAX_ITEMS),
  app_ids: z.array(appId).min(1).max(MAX_ITEMS),
});
/** Without `app_ids` it ends all authorizations of the devices. */
export const cancellationBody = z.object({
  cids: z.array(cid).min(1).max(MAX_ITEMS),
  app_ids: z.array(appId).max(MAX_ITEMS).nullish(),
});

// POST /v2/message/server/push and /v2/message/client/push

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** The number of bytes that a base64 text stands for. */
const decodedLength = (text: string): number =>
  (text.length / 4) * 3 - (text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0);

/** Padded base64 of 1 to 256 bytes; it is delivered as it is. */
const msg = z
  .string()
  .regex(BASE64, 'is not base64 with its padding')
  .refine((text) => text !== '', 'is empty')
  .refine((text) => decodedLength(text) <= MAX_MESSAGE_BYTES, `is longer than ${MAX_MESSAGE_BYTES} bytes`);
const flag = z.literal(Object.values(MESSAGE_FLAG)).default(MESSAGE_FLAG.acknowledged);

/** The caller's own name of a push: within a day, a push with the same name is answered again and not carried out again. */
const id = z.string().min(1).max(LENGTHS.ref).optional();

export const serverPushBody = z.discriminatedUnion('proxy', [
  /** One message to several devices, from the application server. */
  z.object({ proxy: z.literal(0), id, payload: z.object({ msg, flag, clients: z.array(cid).max(MAX_ITEMS) }) }),
  /** Messages in the names of devices. */
  z.object({ proxy: z.literal(1), id, payload: z.array(z.object({ from: cid, to: cid, flag, msg })).max(MAX_ITEMS) }),
]);
export type ServerPush = z.infer<typeof serverPushBody>;

export const clientPushBody = z.object({
  id,
  msg,
  flag,
  /** 1: the application server is told too, by its webhook. */
  callback: z.literal([0, 1]),
  /** Tokens of the devices that get the message; an empty list tells only the application server. */
  access_tokens: z.array(token).max(MAX_ITEMS),
});

// GET and POST /v2/apps/webhook

/** A field that is left out stays as it is; an empty text removes the URL. */
export const webhookBody = z.object({
  webhook: z.string().max(2_048).optional(),
  state_webhook: z.string().max(2_048).optional(),
});
export const webhookAnswer = z.strictObject({
  webhook: z.string(),
  state_webhook: z.string(),
  request_id: requestId,
});

// GET /v2/snapshots/<cid>/cover and POST /v2/devices/<cid>/snapshots

export const SNAPSHOT = { maxBytes: 2 * 1024 * 1024, pauseMs: 5 * 60 * 1_000, coverUrlLifeS: 24 * 60 * 60 } as const;

/** A device in the body of the webhook `device-state`. */
export const deviceStateData = z.strictObject({ device: z.number(), ...connection });
