import { z } from 'zod';
import type { IceServer } from './ice-servers.js';
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

export interface IceCredentials {
  readonly iceServers: readonly IceServer[];
}

export interface NewSession {
  readonly session_id: string;
  readonly ice_credentials: IceCredentials;
  readonly ws_endpoint: string;
}

export interface NewSupervisorSession extends NewSession {
  readonly session_id_to_monitor: string;
}

/** The first generation's. Its SDK appends `?auth_token=` to `ws_endpoint`, which must have no query of its own. */
export interface NewRecordingSession {
  readonly recording_id: string;
  readonly ice_credentials: IceCredentials;
  readonly ws_endpoint: string;
}

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

export interface SessionStatsEntry {
  readonly api_id: string;
  readonly session_id: string;
  readonly client_id: string;
  readonly state: 'CREATED' | 'LIVE' | 'TERMINATED';
  readonly created_at: string;
  readonly stopped_at: string | null;
}

export interface RecordingStatsEntry {
  readonly api_id: string;
  readonly recording_id: string;
  readonly client_id: string;
  readonly session_id: string;
  readonly state: string;
  readonly started_at: string;
  readonly stopped_at: string | null;
  readonly duration_ms: number | null;
  readonly size_bytes: number | null;
}

export interface SessionStatsPage {
  readonly api_id: string;
  readonly sessions: readonly SessionStatsEntry[];
  /** Null on the last page. */
  readonly next_token: string | null;
}

export interface RecordingStatsPage {
  readonly api_id: string;
  readonly recordings: readonly RecordingStatsEntry[];
  readonly next_token: string | null;
}
