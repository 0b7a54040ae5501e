import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  ended,
  infoOf,
  problem,
  refusal,
  terminalStatus,
  type EndReason,
  type Problem,
  type RefusalCode,
} from './info.js';

const constants = z
  .object({ STREAM_STATUS_INFO: z.record(z.string(), z.string()) })
  .parse(createRequire(import.meta.url)('@flashphoner/websdk/src/constants.js'));
const sdkTexts = Object.values(constants.STREAM_STATUS_INFO);

/** Texts for which the SDK has no constant. */
const OUR_OWN = [
  'Failed by error',
  'Stream name is null',
  'Stream name is not valid',
  'SDP is not valid',
  'Custom is not valid',
  'Message is not valid',
  'Too many streams',
  'Too many requests',
  'MediaSessionId is null',
  'MediaSessionId is already in use',
];

const reasons: EndReason[] = [
  'client',
  'disconnected',
  'owner-lost',
  'terminated',
  'ice-timeout',
  'ice-lost',
  'dtls-failed',
  'no-media',
  'stream-ended',
  'node-lost',
  'node-shutdown',
  'replaced',
  'unknown',
];
const codes: RefusalCode[] = [
  'invalid',
  'unauthenticated',
  'forbidden',
  'not-found',
  'already-exists',
  'no-common-codecs',
  'exhausted',
  'unavailable',
  'deadline',
  'internal',
];
const problems: Problem[] = [
  'media-session-id-missing',
  'media-session-id-in-use',
  'name-missing',
  'name-not-valid',
  'sdp-not-valid',
  'custom-not-valid',
  'field-not-valid',
  'too-many-streams',
  'too-many-requests',
  'session-missing',
  'session-not-ready',
  'publisher-not-ready',
  'rtmp-not-supported',
];

describe('infoOf', () => {
  it('returns only texts of the SDK and weir’s own documented ones', () => {
    const causes = [...reasons.map(ended), ...codes.map(refusal), ...problems.map(problem)];
    const texts = causes.flatMap((cause) => [infoOf(cause, 'publish'), infoOf(cause, 'play')]);
    expect(texts.filter((text) => !sdkTexts.includes(text) && !OUR_OWN.includes(text))).toEqual([]);
  });

  it.each([
    [ended('client'), 'publish', 'UNPUBLISHED', 'Stopped by publisher stop'],
    [ended('client'), 'play', 'STOPPED', 'Stopped by user'],
    [ended('disconnected'), 'publish', 'UNPUBLISHED', 'Stopped by session disconnect'],
    [ended('stream-ended'), 'play', 'FAILED', 'Stopped by publisher stop'],
    [ended('terminated'), 'publish', 'FAILED', 'Stopped by rest /terminate'],
    [ended('ice-timeout'), 'play', 'FAILED', 'Failed by ICE timeout'],
    [ended('replaced'), 'publish', 'FAILED', 'Stream name is already in use'],
    [refusal('already-exists'), 'publish', 'FAILED', 'Stream name is already in use'],
    [refusal('not-found'), 'play', 'FAILED', 'Stream not found'],
    [refusal('forbidden'), 'play', 'FAILED', 'Restricted access'],
    [refusal('no-common-codecs'), 'play', 'FAILED', 'No common codecs'],
    [problem('media-session-id-missing'), 'publish', 'FAILED', 'MediaSessionId is null'],
  ] as const)('reports %j of a %s as %s "%s"', (cause, direction, status, info) => {
    expect([terminalStatus(cause, direction), infoOf(cause, direction)]).toEqual([status, info]);
  });
});
