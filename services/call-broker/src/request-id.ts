import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

const ids = new WeakMap<object, string>();

/**
 * The id of a request of the Web API or the device channel: 32 hex digits, in the body of its answer, and in the Web API's
 * header X-Request-ID.
 */
export const requestIdOf = ({ raw }: { readonly raw: IncomingMessage }): string => {
  const known = ids.get(raw);
  if (known !== undefined) return known;
  const id = randomBytes(16).toString('hex');
  ids.set(raw, id);
  return id;
};
