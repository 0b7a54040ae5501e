import { z } from 'zod';

const MAX_ROTATION_S = 7 * 24 * 3_600;

const text = z.string().min(1).max(1_024);

export const filterBody = z
  .object({
    mediaSessionId: text.optional(),
    mediaSessionIds: z.array(text).max(1_000).optional(),
    name: text.optional(),
    published: z.boolean().optional(),
    status: text.optional(),
    display: z.array(z.string().max(64)).max(16).optional(),
  })
  .nullish();

export const snapshotBody = z.object({ streamName: text });

/** As in the original's settings: a length in seconds, or a size in megabytes such as `20M`. */
const rotation = z
  .union([z.number().int(), z.string().regex(/^\d{1,7}M?$/)])
  .transform((text) => ({ count: Number.parseInt(String(text), 10), isSize: String(text).endsWith('M') }))
  .refine(({ count }) => count > 0)
  .refine(({ count, isSize }) => isSize || count <= MAX_ROTATION_S);

export const startRecordingBody = z.object({
  mediaSessionId: text,
  config: z.object({ fileTemplate: z.string().max(256).optional(), rotation: rotation.optional() }).nullish(),
});

export const stopRecordingBody = z.object({ mediaSessionId: text });

export const connectionsBody = z
  .object({ sessionId: text.optional(), sessionIds: z.array(text).max(1_000).optional() })
  .refine(({ sessionId, sessionIds }) => sessionId !== undefined || sessionIds !== undefined);

/** A stream in the form of the original interface. */
const streamView = z
  .strictObject({
    appKey: z.string().nullable(),
    sessionId: z.string().nullable(),
    mediaSessionId: z.string(),
    name: z.string(),
    published: z.boolean(),
    hasVideo: z.boolean(),
    hasAudio: z.boolean(),
    status: z.string(),
    audioCodec: z.string().nullable(),
    videoCodec: z.string().nullable(),
    record: z.boolean(),
    width: z.int(),
    height: z.int(),
    bitrate: z.literal(0),
    minBitrate: z.literal(0),
    maxBitrate: z.literal(0),
    quality: z.literal(0),
    createDate: z.int(),
    mediaProvider: z.string(),
    mediaType: z.enum(['publish', 'play']),
    nodeId: z.string().nullable(),
    audioState: z.strictObject({ muted: z.boolean() }).readonly(),
    videoState: z.strictObject({ muted: z.boolean() }).readonly(),
    /** The source's media that nobody gets, each with its reason. Absent when there are none. */
    notCarried: z.array(z.string()).readonly().optional(),
    metrics: z.record(z.string(), z.number()).readonly().optional(),
  })
  .readonly();
export type StreamView = z.infer<typeof streamView>;
export const streamsAnswer = z.array(streamView).readonly();

const recorderView = z.strictObject({ fileName: z.string(), mediaSessionId: z.string() }).readonly();
export type RecorderView = z.infer<typeof recorderView>;
export const recordersAnswer = z.array(recorderView).readonly();

/** The PNG of a stream's current frame. */
export const snapshotAnswer = z.strictObject({ data: z.base64() });

const connectionView = z
  .strictObject({
    sessionId: z.string(),
    appKey: z.string(),
    status: z.literal('ESTABLISHED'),
    clientVersion: z.string(),
    createDate: z.int(),
    streams: z.int(),
  })
  .readonly();
export type ConnectionView = z.infer<typeof connectionView>;
export const connectionsAnswer = z.array(connectionView).readonly();
