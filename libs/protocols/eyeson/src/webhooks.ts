import type { TerminationCause } from './messages.js';

/** The bodies of the webhooks. All times are ISO 8601 in UTC, and tell what really happened. */
export type Webhook = UploadReady | UploadFailed | SessionFinished;

export interface UploadReady {
  readonly status: 'upload_ready';
  readonly msg: string;
  readonly rec_id: string;
  readonly client_id: string;
  readonly recording_started_at: string;
  readonly recording_first_frame_written_at: string;
  /** By the client's clock, from the RTCP sender reports of its media; null if none arrived. */
  readonly recording_first_peerframe_captured_at: string | null;
  readonly recording_stopped_at: string;
  readonly recording_file_duration_ms: number;
  readonly recording_file_size_bytes: number;
}

export interface UploadFailed {
  readonly status: 'upload_failed';
  readonly msg: string;
  readonly rec_id: string;
  readonly client_id: string;
  /** The HTTP status that the destination answered with; null if it didn't answer. */
  readonly upload_status_code: number | null;
}

export interface SessionFinished {
  readonly status: 'session_finished' | 'supervisor_session_finished';
  readonly msg: string;
  readonly session_id: string;
  readonly client_id: string;
  readonly termination_cause: TerminationCause;
  readonly started_at: string;
  readonly stopped_at: string;
}

interface Upload {
  readonly recordingId: string;
  readonly clientId: string;
}

export interface ReadyUpload extends Upload {
  readonly startedAtMs: number;
  readonly firstFrameWrittenAtMs: number;
  readonly firstFrameCapturedAtMs: number | undefined;
  readonly stoppedAtMs: number;
  readonly durationMs: number;
  readonly sizeBytes: number;
}

const timeText = (atMs: number): string => new Date(atMs).toISOString();

export const uploadReady = (upload: ReadyUpload): UploadReady => ({
  status: 'upload_ready',
  msg: 'The recording was uploaded',
  rec_id: upload.recordingId,
  client_id: upload.clientId,
  recording_started_at: timeText(upload.startedAtMs),
  recording_first_frame_written_at: timeText(upload.firstFrameWrittenAtMs),
  recording_first_peerframe_captured_at:
    upload.firstFrameCapturedAtMs === undefined ? null : timeText(upload.firstFrameCapturedAtMs),
  recording_stopped_at: timeText(upload.stoppedAtMs),
  recording_file_duration_ms: Math.round(upload.durationMs),
  recording_file_size_bytes: upload.sizeBytes,
});

export const uploadFailed = (
  upload: Upload & { readonly statusCode: number | undefined; readonly reason: string },
): UploadFailed => ({
  status: 'upload_failed',
  msg: upload.reason,
  rec_id: upload.recordingId,
  client_id: upload.clientId,
  upload_status_code: upload.statusCode ?? null,
});

const MSG: Readonly<Record<TerminationCause, string>> = {
  CLIENT_STOP: 'The client ended the session',
  CONN_ERROR: 'The connection to the client broke',
  CONN_TIMEOUT: 'The client was no longer heard',
  SESSION_REPLACED: 'The client has started another session',
  TOKEN_EXPIRED: 'The token of the session is no longer valid',
  SERVER_SHUTDOWN: 'The server was shut down',
};

export const sessionFinished = (
  role: 'client' | 'supervisor',
  session: {
    readonly sessionId: string;
    readonly clientId: string;
    readonly cause: TerminationCause;
    readonly startedAtMs: number;
    readonly stoppedAtMs: number;
  },
): SessionFinished => ({
  status: role === 'client' ? 'session_finished' : 'supervisor_session_finished',
  msg: MSG[session.cause],
  session_id: session.sessionId,
  client_id: session.clientId,
  termination_cause: session.cause,
  started_at: timeText(session.startedAtMs),
  stopped_at: timeText(session.stoppedAtMs),
});
