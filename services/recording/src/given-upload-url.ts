import { refusalOf, type OutboundGuard } from '@weir/outbound';
import { uploadUrlProblem, type UploadUrlProblem } from './upload-url.js';
import type { UploadConfig } from './upload-settings.js';

/**
 * Checks an `upload_url` when it is given, long before it is used: what the URL itself shows, and whether the platform
 * may connect to its address. A name that can't be resolved now may be resolvable later.
 */
export const givenUrlProblem = async (
  url: string,
  guard: Pick<OutboundGuard, 'check'>,
  config: Pick<UploadConfig, 'WEIR_RECORDING_UPLOAD_HTTP' | 'WEIR_RECORDING_UPLOAD_MIN_VALID_MS'>,
): Promise<UploadUrlProblem | undefined> => {
  const requireHttps = !config.WEIR_RECORDING_UPLOAD_HTTP;
  const problem = uploadUrlProblem(url, {
    nowMs: Date.now(),
    minValidMs: config.WEIR_RECORDING_UPLOAD_MIN_VALID_MS,
    requireHttps,
  });
  if (problem !== undefined) return problem;
  const refusal = await refusalOf(guard.check(url, { schemes: requireHttps ? ['https'] : ['https', 'http'] }));
  if (refusal === undefined) return undefined;
  return {
    trap: 'forbidden-address',
    text: `The platform may not connect to the address of upload_url (${refusal.reason}: ${refusal.subject}). Give one on the public internet, or have the operator allow this one.`,
  };
};
