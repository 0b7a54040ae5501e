import { ErrorCode, WeirError } from '@weir/contracts';
import type { z } from 'zod';

/** Throws INVALID, with a message for each wrong field. */
export const parsed = <Output>(schema: z.ZodType<Output>, value: unknown): Output => {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const fields = Object.fromEntries(
    result.error.issues.map(({ path, message }) => [path.length === 0 ? 'body' : path.join('.'), message]),
  );
  throw new WeirError(ErrorCode.INVALID, 'The request is not valid; see the fields', fields);
};
