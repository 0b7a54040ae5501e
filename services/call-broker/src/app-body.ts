import { z } from 'zod';

const MAX_CID = 0xffff_ffff;
const MAX_RANGES = 100;
const MAX_URL_LENGTH = 2_048;

export const APP_ID_PATTERN = /^[A-Za-z0-9]{4}$/;
/** A key that is made here has 32 characters; one that is brought along may be shorter or longer. */
const KEY_PATTERN = /^[\x21-\x7e]{16,64}$/;

export const cid = z.number().int().min(1).max(MAX_CID);
const usage = z.union([z.literal(1), z.literal(2)]);

const range = z
  .strictObject({
    begin: cid.describe('The first device.'),
    end: cid.describe('The last device.'),
    usage: usage.default(1).describe('1: the devices push; 2: they only view.'),
  })
  .refine(({ begin, end }) => begin <= end, { path: ['end'], message: 'is less than begin' });

const ranges = z.array(range).max(MAX_RANGES);
const key = z.string().regex(KEY_PATTERN, '16 to 64 printable ASCII characters without spaces');

/** A URL to which events are posted; empty: none. */
export const hookUrl = z.union([z.literal(''), z.url({ protocol: /^https?$/ }).max(MAX_URL_LENGTH)]);

export const newAppBody = z.strictObject({
  id: z.string().regex(APP_ID_PATTERN, '4 letters or digits').optional().describe('By default a free one is chosen.'),
  key: key.optional().describe('By default one is made.'),
  ranges: ranges.min(1),
});
export const appChangeBody = z.strictObject({
  key: key.optional(),
  ranges: ranges.optional(),
  webhook: hookUrl.optional(),
  stateWebhook: hookUrl.optional(),
  wakeHook: hookUrl.optional().describe('The push gateway that wakes devices without a connection.'),
});
export const newKeyBody = z.strictObject({}).optional();
export const listQuery = z.object({
  limit: z.coerce.number().int().min(1).max(200).default(50),
  after: z.string().max(100).optional().describe('The id of the last app on the previous page.'),
});

export const appJson = z.strictObject({
  id: z.string(),
  ranges: z.array(z.strictObject({ begin: cid, end: cid, usage })).readonly(),
  webhook: z.string(),
  stateWebhook: z.string(),
  wakeHook: z.string(),
  createdAt: z.iso.datetime(),
});
export type AppJson = z.infer<typeof appJson>;
/** The key is told only when it is made or changed. */
export const keyedAppJson = appJson.extend({ key: z.string() });
export const appsAnswer = z.strictObject({ apps: z.array(appJson), next: z.string().nullable() });
