import type { Call } from '@weir/protocol-topvdn';
import { z } from 'zod';

const side = z.enum(['caller', 'callee']);
const muted = z.object({ audio: z.boolean(), video: z.boolean() });
const opening = z.object({ cid: z.number(), sdp: z.string() });
const leg = z.object({
  cid: z.number(),
  media: z.enum(['none', 'opening', 'open', 'connected']),
  muted,
  awayMs: z.number().nullable(),
});
const begun = {
  callId: z.string(),
  caller: z.number(),
  rung: z.array(z.number()).readonly(),
  settings: z.object({ ringMs: z.number(), joinMs: z.number(), connectMs: z.number(), graceMs: z.number() }),
};
const legs = z.object({ caller: leg, callee: leg });

/** A call that has ended is never stored. */
const call = z.discriminatedUnion('tag', [
  z.object({ tag: z.literal('ringing'), ...begun, deadlineMs: z.number(), awayMs: z.number().nullable() }),
  z.object({
    tag: z.literal('claiming'),
    ...begun,
    deadlineMs: z.number(),
    opening,
    waiting: z.array(opening).readonly(),
  }),
  z.object({ tag: z.literal('connecting'), ...begun, legs, answeredMs: z.number(), deadlineMs: z.number() }),
  z.object({ tag: z.literal('established'), ...begun, legs, answeredMs: z.number() }),
]) satisfies z.ZodType<Exclude<Call, { tag: 'ended' }>>;

const legMedia = z.object({
  sessionId: z.string(),
  nodeId: z.string(),
  /** As in SDP's rtpmap; empty if the side sends none. */
  video: z.string(),
  /** Whether the side sends anything. */
  sends: z.boolean(),
});
export type LegMedia = z.infer<typeof legMedia>;

const sideQuality = z.object({
  /** The share of packets that were lost, at its worst. */
  worstLoss: z.number(),
  /** The mean of all reports. */
  loss: z.number(),
  rttMs: z.number().nullable(),
  bitrateBps: z.number(),
  reports: z.number(),
});
export type SideQuality = z.infer<typeof sideQuality>;
export const callQuality = z.partialRecord(side, sideQuality);
export type CallQuality = z.infer<typeof callQuality>;

/** What one side sends and the other one doesn't get. */
const notCarried = z.object({ from: side, message: z.string() });
export type NotCarried = z.infer<typeof notCarried>;

const place = z.object({ cid: z.number(), epoch: z.string() });

/** Everything of a call that another instance needs to go on with it. */
export const callSnapshot = z.object({
  tenant: z.string(),
  appId: z.string(),
  call,
  media: z.partialRecord(side, legMedia),
  /** The epochs of the places' leases. */
  places: z.array(place),
  /** The lease of the caller's URL, if it was handed out. */
  ring: place.nullable(),
  record: z.boolean(),
  startedMs: z.number(),
  establishedMs: z.number().nullable(),
  quality: callQuality,
  notCarried: z.array(notCarried).readonly().default([]),
});
export type CallSnapshot = z.infer<typeof callSnapshot>;
