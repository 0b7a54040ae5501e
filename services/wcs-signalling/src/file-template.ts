const MAX_NAME = 256;

/** What is known of a recording when it begins. */
export interface BeginningRecording {
  readonly streamName: string;
  readonly mediaSessionId: string;
  /** Null for a publisher of another protocol. */
  readonly sessionId: string | null;
  readonly audioCodec: string | null;
  readonly videoCodec: string | null;
  readonly startMs: number;
}

/**
 * Fills in a `fileTemplate`. Elements that are known only at the end, such as `{endTime}`, stay as they are. Nobody logs
 * in, so `{login}` is empty.
 */
export const filledTemplate = (template: string, recording: BeginningRecording): string => {
  const values: Readonly<Record<string, string>> = {
    ...{ streamName: recording.streamName, mediaSessionId: recording.mediaSessionId, login: '' },
    sessionId: Buffer.from(recording.sessionId ?? '').toString('base64'),
    ...{ startTime: String(recording.startMs), startTimeMillis: String(recording.startMs) },
    ...{ audioCodec: recording.audioCodec ?? '', videoCodec: recording.videoCodec ?? '' },
  };
  return template
    .replace(/\{(\w+)\}/g, (element, name: string) => (Object.hasOwn(values, name) ? (values[name] ?? '') : element))
    .slice(0, MAX_NAME);
};
