import { z } from 'zod';
import { LENGTHS } from './settings.js';

const DAY_S = 24 * 60 * 60;
const clientId = z.string().min(1).max(LENGTHS.clientId);
const masterKey = z.string().min(1).max(256);
const tokenLife = z.number().int().min(1).default(DAY_S);

/** What a token of `/auth_v2` lets its holder do. */
export const TOKEN_KINDS = ['client', 'supervisor', 'stats'] as const;
export type TokenKind = (typeof TOKEN_KINDS)[number];

/** Bodies of `POST /auth_v2/<kind>`. */
export const clientTokenBody = z.object({ master_key: masterKey, client_id: clientId, token_ttl_s: tokenLife });
export const supervisorTokenBody = clientTokenBody.extend({ client_to_monitor: clientId });
/** The documents call `client_id` required, but their own example leaves it out. */
export const statsTokenBody = clientTokenBody.partial({ client_id: true });

/** Bodies of `POST /api/v2/session`, `/api/session` and `/api/v2/supervisor_session`. */
export const newSessionBody = z.object({ client_id: clientId });
export const newSupervisorSessionBody = z.object({
  client_id: clientId,
  client_id_to_monitor: clientId,
  /** The client's live session if it is left out. */
  session_id_to_monitor: z.string().min(1).max(LENGTHS.sessionId).nullish(),
});

const iceCredentials = z.object({
  iceServers: z
    .array(z.object({ urls: z.array(z.string()).readonly(), username: z.string(), credential: z.string() }))
    .readonly(),
});

export const newSessionAnswer = z.strictObject({
  session_id: z.string(),
  ice_credentials: iceCredentials,
  ws_endpoint: z.string(),
});
export const newSupervisorSessionAnswer = newSessionAnswer.extend({ session_id_to_monitor: z.string() });
/** The first generation's. Its SDK appends `?auth_token=` to `ws_endpoint`, which must have no query of its own. */
export const newRecordingSessionAnswer = newSessionAnswer
  .omit({ session_id: true })
  .extend({ recording_id: z.string() });

export type NewSession = z.infer<typeof newSessionAnswer>;
export type NewSupervisorSession = z.infer<typeof newSupervisorSessionAnswer>;
export type NewRecordingSession = z.infer<typeof newRecordingSessionAnswer>;

const MAX_PAGE_LENGTH = 1_000;
const DEFAULT_PAGE_LENGTH = 100;

/** The query of the stats. Without a year, everything is listed; a month needs a year. */
export const statsQuery = z
  .object({
    year: z.coerce.number().int().min(1970).max(9_999).optional(),
    month: z.coerce.number().int().min(1).max(12).optional(),
    limit: z.coerce.number().int().min(1).max(MAX_PAGE_LENGTH).default(DEFAULT_PAGE_LENGTH),
    next_token: z.string().min(1).max(256).optional(),
  })
  .refine(({ year, month }) => month === undefined || year !== undefined, {
    path: ['month'],
    message: 'needs a year',
  });

/** The time that the query asks about, in ms of the epoch: from the first until before the second. */
export const periodOf = ({ year, month }: { year?: number | undefined; month?: number | undefined }) =>
  year === undefined
    ? undefined
    : {
        fromMs: Date.UTC(year, (month ?? 1) - 1),
        untilMs: month === undefined ? Date.UTC(year + 1, 0) : Date.UTC(year, month),
      };

/** `next_token` is null on the last page. */
const page = { api_id: z.string(), next_token: z.string().nullable() };

export const sessionStatsAnswer = z.strictObject({
  ...page,
  sessions: z
    .array(
      z.strictObject({
        api_id: z.string(),
        session_id: z.string(),
        client_id: z.string(),
        state: z.enum(['CREATED', 'LIVE', 'TERMINATED']),
        created_at: z.string(),
        stopped_at: z.string().nullable(),
      }),
    )
    .readonly(),
});
export const recordingStatsAnswer = z.strictObject({
  ...page,
  recordings: z
    .array(
      z.strictObject({
        api_id: z.string(),
        recording_id: z.string(),
        client_id: z.string(),
        session_id: z.string(),
        state: z.string(),
        started_at: z.string(),
        stopped_at: z.string().nullable(),
        duration_ms: z.number().nullable(),
        size_bytes: z.number().nullable(),
      }),
    )
    .readonly(),
});

export type SessionStatsPage = z.infer<typeof sessionStatsAnswer>;
export type RecordingStatsPage = z.infer<typeof recordingStatsAnswer>;
