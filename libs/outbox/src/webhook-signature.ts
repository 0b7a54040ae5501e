import { createHmac, randomBytes } from 'node:crypto';

const PREFIX = 'whsec_';
const MIN_SECRET_BYTES = 24;
const MAX_SECRET_BYTES = 64;
const NEW_SECRET_BYTES = 32;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

export const newWebhookSecret = (): string => PREFIX + randomBytes(NEW_SECRET_BYTES).toString('base64');

/** @throws RangeError unless the secret is `whsec_` and 24 to 64 bytes in base64 */
const secretBytes = (secret: string): Buffer => {
  const encoded = secret.slice(PREFIX.length);
  const bytes = Buffer.from(encoded, 'base64');
  const fits = bytes.length >= MIN_SECRET_BYTES && bytes.length <= MAX_SECRET_BYTES;
  if (!secret.startsWith(PREFIX) || !BASE64.test(encoded) || !fits)
    throw new RangeError('A webhook’s secret is whsec_ and 24 to 64 bytes in base64');
  return bytes;
};

export interface SignedContent {
  readonly id: string;
  /** The time of the attempt, in seconds since 1970. */
  readonly timestampS: number;
  readonly body: string;
}

/**
 * The headers of Standard Webhooks 1.0.0. During a rotation there are two secrets, and each signs.
 * @throws RangeError without a usable secret, or if the id contains a full stop, which would make the signed text
 *   ambiguous
 */
export const webhookHeaders = (
  { id, timestampS, body }: SignedContent,
  secrets: readonly string[],
): Record<'webhook-id' | 'webhook-timestamp' | 'webhook-signature', string> => {
  if (!/^[\w:-]+$/.test(id)) throw new RangeError('A webhook’s id consists of letters, digits, _, : and -');
  if (secrets.length === 0) throw new RangeError('A webhook needs a secret');
  const signatures = secrets.map(
    (secret) =>
      `v1,${createHmac('sha256', secretBytes(secret)).update(`${id}.${timestampS}.${body}`).digest('base64')}`,
  );
  return { 'webhook-id': id, 'webhook-timestamp': String(timestampS), 'webhook-signature': signatures.join(' ') };
};
