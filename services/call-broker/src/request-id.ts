import { randomBytes } from 'node:crypto';
import type { FastifyRequest } from 'fastify';

const ids = new WeakMap<object, string>();

/** The id of a request of the Web API, in the body and in the header X-Request-ID of its answer: 32 hex digits. */
export const requestIdOf = ({ raw }: Pick<FastifyRequest, 'raw'>): string => {
  const known = ids.get(raw);
  if (known !== undefined) return known;
  const id = randomBytes(16).toString('hex');
  ids.set(raw, id);
  return id;
};
