import { streamName } from '@weir/protocol-wcs';
import { z } from 'zod';

const uri = z.string().min(1).max(2_048);
export const relayBody = z.object({ uri, localStreamName: streamName, remoteStreamName: streamName });
export const filterBody = z
  .object({ uri: uri.optional(), localStreamName: streamName.optional(), remoteStreamName: streamName.optional() })
  .nullish();

/** The original's empty body, unless the relay leaves media out. */
export const createAnswer = z
  .strictObject({ notCarried: z.array(z.string()).readonly() })
  .readonly()
  .optional();
export type CreateAnswer = z.infer<typeof createAnswer>;

/** The original's fields first, then our own. */
const relayItem = z
  .strictObject({
    localMediaSessionId: z.string().nullable(),
    remoteMediaSessionId: z.string().nullable(),
    localStreamName: z.string(),
    remoteStreamName: z.string(),
    uri: z.string(),
    status: z.enum(['NEW', 'PUBLISHING', 'PLAYING', 'PENDING', 'FAILED']),
    id: z.string(),
    direction: z.enum(['push', 'pull']),
    reason: z.string(),
    retries: z.int(),
    createDate: z.int(),
    /** The media that the relay leaves out, each with its reason; absent if there are none. */
    notCarried: z.array(z.string()).readonly().optional(),
    stats: z.record(z.string(), z.number().nullable()).readonly().optional(),
  })
  .readonly();
export type RelayItem = z.infer<typeof relayItem>;
export const relaysAnswer = z.array(relayItem).readonly();
