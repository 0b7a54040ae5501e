import { randomBytes } from 'node:crypto';
import { DEVICE_CONTROL, makeToken, parseToken, verifyToken } from '@weir/protocol-topvdn';
import { z } from 'zod';

export const callsSchema = z.looseObject({
  appId: z.string().regex(/^[A-Za-z0-9]{4}$/),
  appKey: z.string().regex(/^[\x21-\x7e]{16,64}$/),
  /** Entries of other devices stay as they are. */
  devices: z.array(z.unknown()).readonly().catch([]),
});
/** An app for video calls and devices of it, with their own tokens. */
export type CallCredentials = z.infer<typeof callsSchema>;

const APP_ID = 'demo';
/** The vendor's samples name these devices, so they can be tried as they are. */
const DEVICES = [1_003_538, 1_003_181, 1_003_469] as const;

const DAY_MS = 24 * 60 * 60 * 1_000;
const TOKEN_LIFE_MS = 180 * DAY_MS;
/** A token that ends earlier than this is replaced at the start. */
const TOKEN_REST_MS = 30 * DAY_MS;

const deviceSchema = z.looseObject({ cid: z.number(), token: z.string() });

/** The credentials with what they lack: an app, and a token of each demo device that is valid for a month at least. */
export const completed = (found: CallCredentials | undefined, nowMs: number): CallCredentials => {
  const { appId, appKey, devices } = found ?? { appId: APP_ID, appKey: randomBytes(16).toString('hex'), devices: [] };
  const isUsable = (device: unknown): boolean => {
    const { data } = deviceSchema.safeParse(device);
    const reading = parseToken(data?.token ?? '');
    if (reading.tag === 'refused' || reading.token.cid !== data?.cid) return false;
    return verifyToken(reading.token, appKey, nowMs + TOKEN_REST_MS).tag === 'valid';
  };
  const cidOf = (device: unknown): number | undefined => deviceSchema.pick({ cid: true }).safeParse(device).data?.cid;
  const missing = DEVICES.filter((cid) => !devices.some((device) => cidOf(device) === cid && isUsable(device)));
  if (found !== undefined && missing.length === 0) return found;
  const expireS = Math.floor((nowMs + TOKEN_LIFE_MS) / 1_000);
  const made = missing.map((cid) => ({ cid, token: makeToken({ cid, control: DEVICE_CONTROL, expireS }, appKey) }));
  const others = devices.filter((device) => !missing.some((cid) => cid === cidOf(device)));
  return { ...found, appId, appKey, devices: [...others, ...made] };
};
