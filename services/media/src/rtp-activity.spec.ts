import { describe, expect, it } from 'vitest';
import { EVERYTHING_CHECKED, RtpActivity, wholeNames, type RtpActivityRules } from './rtp-activity.js';

const NO_MEDIA_TIMEOUT_MS = 15_000;
const RTP_ACTIVITY_TIMEOUT_MS = EVERYTHING_CHECKED.timeoutMs;

type Seconds = Iterable<readonly ('audio' | 'video' | 'report')[]>;

/** The second at which a publisher counts as silent, with one measurement a second; undefined when it never does. */
function silentAfter(
  seconds: Seconds,
  { streamName = 'cam', ...rules }: Partial<RtpActivityRules> & { streamName?: string } = {},
): number | undefined {
  const activity = new RtpActivity(
    {
      rules: { ...EVERYTHING_CHECKED, ...rules },
      streamName,
      kinds: ['audio', 'video'],
      noMediaTimeoutMs: NO_MEDIA_TIMEOUT_MS,
      maxStepMs: 2_000,
    },
    0,
  );
  const counts = { audio: 0, video: 0 };
  let second = 0;
  for (const heard of seconds) {
    second += 1;
    for (const what of heard)
      if (what === 'report') activity.reported();
      else counts[what] += 10;
    activity.measured(new Map(Object.entries(counts) as ['audio' | 'video', number][]), second * 1_000);
    if (activity.isSilent) return second;
  }
  return undefined;
}

const during = (seconds: number, ...heard: ('audio' | 'video' | 'report')[]): Seconds =>
  Array.from({ length: seconds }, () => heard);

describe('a publisher', () => {
  it('that sends nothing at all is silent after the short time', () => {
    expect(silentAfter(during(100))).toBe(NO_MEDIA_TIMEOUT_MS / 1_000 + 1);
  });

  it('of a static picture, whose sender reports go on, is silent after the long time', () => {
    expect(silentAfter(during(100, 'report'))).toBe(RTP_ACTIVITY_TIMEOUT_MS / 1_000 + 1);
  });

  it('of sound and a static picture is not silent', () => {
    expect(silentAfter(during(200, 'audio', 'report'))).toBeUndefined();
  });

  it('whose picture moves now and then is not silent', () => {
    const seconds = Array.from({ length: 300 }, (_none, index) =>
      index % 50 === 0 ? ['video' as const] : ['report' as const],
    );
    expect(silentAfter(seconds)).toBeUndefined();
  });
});

describe('a kind that is not checked', () => {
  it('keeps nobody alive: with audio off a static picture is silent, although sound flows', () => {
    expect(silentAfter(during(100, 'audio'), { audio: false })).toBe(RTP_ACTIVITY_TIMEOUT_MS / 1_000 + 1);
  });

  it('is never missed: with both off nobody is silent', () => {
    expect(silentAfter(during(300), { audio: false, video: false })).toBeUndefined();
  });
});

describe('an excluded name', () => {
  const exclude = { audioExclude: wholeNames('.*-screen|lobby'), videoExclude: wholeNames('.*-screen|lobby') };

  it.each(['user-1-screen', 'lobby'])('is never silent: %s', (streamName) => {
    expect(silentAfter(during(300), { ...exclude, streamName })).toBeUndefined();
  });

  it.each(['user-1-screen-2', 'lobby-2', 'the-lobby'])('fits as a whole or not at all: %s', (streamName) => {
    expect(silentAfter(during(300), { ...exclude, streamName })).toBe(16);
  });

  it('may be excluded for one kind alone', () => {
    const rules = { videoExclude: wholeNames('cam') };
    expect(silentAfter(during(100, 'audio'), rules)).toBeUndefined();
    expect(silentAfter(during(100, 'report'), rules)).toBe(61);
  });
});

it('counts no time in which the worker gave no answer', () => {
  const activity = new RtpActivity(
    { rules: EVERYTHING_CHECKED, streamName: 'cam', kinds: ['video'], noMediaTimeoutMs: 15_000, maxStepMs: 2_000 },
    0,
  );
  activity.measured(new Map([['video', 10]]), 1_000);
  activity.measured(new Map([['video', 10]]), 60_000);
  expect(activity.isSilent).toBe(false);
});
