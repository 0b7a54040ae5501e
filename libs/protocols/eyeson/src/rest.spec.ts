import { describe, expect, it } from 'vitest';
import { periodOf, sessionFinished, statsQuery, supervisorTokenBody, uploadFailed, uploadReady } from './index.js';

const AT_MS = Date.UTC(2026, 10, 30, 12);

describe('the stats', () => {
  it.each([
    [{ year: '2026', month: '12' }, '2026-12-01T00:00:00.000Z', '2027-01-01T00:00:00.000Z'],
    [{ year: '2024', month: '02' }, '2024-02-01T00:00:00.000Z', '2024-03-01T00:00:00.000Z'],
    [{ year: '2026' }, '2026-01-01T00:00:00.000Z', '2027-01-01T00:00:00.000Z'],
  ])('of %j begin and end in UTC', (query, from, until) => {
    const period = periodOf(statsQuery.parse(query));
    expect([period?.fromMs, period?.untilMs].map((ms) => new Date(ms ?? NaN).toISOString())).toEqual([from, until]);
  });

  it.each([{ month: '1' }, { year: '2026', month: '13' }, { limit: '0' }, { limit: 'x' }, { year: '99999' }])(
    'of %j are refused',
    (query) => {
      expect(statsQuery.safeParse(query).success).toBe(false);
    },
  );

  it('have no period without a year', () => {
    expect(periodOf(statsQuery.parse({}))).toBeUndefined();
  });
});

it("a supervisor's token names the client to watch, and lives for a day unless the request says otherwise", () => {
  const body = { master_key: 'k', client_id: 'guard', client_to_monitor: 'client-0' };
  expect(supervisorTokenBody.parse(body)).toEqual({ ...body, token_ttl_s: 86_400 });
  expect(supervisorTokenBody.safeParse({ ...body, client_to_monitor: undefined }).success).toBe(false);
});

describe('webhooks', () => {
  it('tell of a recording with exactly the specified fields', () => {
    const upload = {
      ...{ recordingId: 'r', clientId: 'c', startedAtMs: AT_MS, firstFrameWrittenAtMs: AT_MS + 100 },
      ...{ firstFrameCapturedAtMs: AT_MS + 50, stoppedAtMs: AT_MS + 5_000, durationMs: 4_900.4, sizeBytes: 7 },
    };
    expect(uploadReady(upload)).toEqual({
      status: 'upload_ready',
      msg: expect.any(String),
      rec_id: 'r',
      client_id: 'c',
      recording_started_at: '2026-11-30T12:00:00.000Z',
      recording_first_frame_written_at: '2026-11-30T12:00:00.100Z',
      recording_first_peerframe_captured_at: '2026-11-30T12:00:00.050Z',
      recording_stopped_at: '2026-11-30T12:00:05.000Z',
      recording_file_duration_ms: 4_900,
      recording_file_size_bytes: 7,
    });
    expect(uploadReady({ ...upload, firstFrameCapturedAtMs: undefined })).toMatchObject({
      recording_first_peerframe_captured_at: null,
    });
    expect(uploadFailed({ recordingId: 'r', clientId: 'c', statusCode: 403, reason: 'It answered 403' })).toEqual({
      status: 'upload_failed',
      msg: 'It answered 403',
      rec_id: 'r',
      client_id: 'c',
      upload_status_code: 403,
    });
  });

  it("tell of a session's end, and of a supervisor's by another name", () => {
    const session = { sessionId: 's', clientId: 'c', cause: 'CONN_TIMEOUT', startedAtMs: AT_MS, stoppedAtMs: AT_MS };
    expect(sessionFinished('client', { ...session, cause: 'CONN_TIMEOUT' })).toEqual({
      status: 'session_finished',
      msg: 'The client was no longer heard',
      session_id: 's',
      client_id: 'c',
      termination_cause: 'CONN_TIMEOUT',
      started_at: '2026-11-30T12:00:00.000Z',
      stopped_at: '2026-11-30T12:00:00.000Z',
    });
    expect(sessionFinished('supervisor', { ...session, cause: 'CLIENT_STOP' }).status).toBe(
      'supervisor_session_finished',
    );
  });
});
