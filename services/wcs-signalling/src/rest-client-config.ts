import { streamName } from '@weir/protocol-wcs';
import { z } from 'zod';
import { RULED_METHODS, type HookMethod } from './hooks.js';

/** A rule for later questions of a session, from the backend's answer to `connect`. */
export interface HookRule {
  /** Whether a refusal or a failure of the hook stops the action (`FAIL`) or is only logged (`LOG`). */
  readonly restOnError: 'LOG' | 'FAIL';
  readonly restPolicy: 'NOTIFY' | 'OVERWRITE' | 'DISABLE';
  /** Fields that the backend doesn't get. */
  readonly restExclude: readonly string[];
  /** Fields of status messages that the client doesn't get. */
  readonly clientExclude: readonly string[];
  /** Fields that an answer may change. Only `name` has an effect. */
  readonly restOverwrite: readonly string[];
}

export type RestClientConfig = Partial<Readonly<Record<HookMethod, HookRule>>>;

export const DEFAULT_RULE: HookRule = {
  restOnError: 'LOG',
  restPolicy: 'NOTIFY',
  restExclude: [],
  clientExclude: [],
  restOverwrite: [],
};

const fields = z
  .string()
  .max(1_000)
  .catch('')
  .transform((text) =>
    text
      .split(',')
      .map((field) => field.trim())
      .filter((field) => field !== ''),
  );

const rule = z.object({
  restOnError: z.enum(['LOG', 'FAIL']).catch('LOG'),
  restPolicy: z.enum(['NOTIFY', 'OVERWRITE', 'DISABLE']).catch('NOTIFY'),
  restExclude: fields,
  clientExclude: fields,
  restOverwrite: fields,
});

const answer = z.object({
  restClientConfig: z.record(z.string(), z.unknown()),
});

/** The rules in a backend's answer. A missing or unreadable rule has the defaults. */
export const restClientConfigOf = (body: unknown): RestClientConfig => {
  const parsed = answer.safeParse(body);
  if (!parsed.success) return {};
  const { restClientConfig } = parsed.data;
  return Object.fromEntries(
    RULED_METHODS.flatMap((method) => {
      const read = rule.safeParse(restClientConfig[method]);
      return read.success ? [[method, read.data]] : [];
    }),
  );
};

export const without = (
  message: Readonly<Record<string, unknown>>,
  excluded: readonly string[],
): Readonly<Record<string, unknown>> =>
  excluded.length === 0
    ? message
    : Object.fromEntries(Object.entries(message).filter(([field]) => !excluded.includes(field)));

const renamed = z.object({ name: streamName });

/** The name that an answer gives a stream, if the rule allows that. */
export const overwrittenName = (body: unknown, { restPolicy, restOverwrite }: HookRule): string | undefined => {
  if (restPolicy !== 'OVERWRITE' || !restOverwrite.includes('name')) return undefined;
  const parsed = renamed.safeParse(body);
  return parsed.success ? parsed.data.name : undefined;
};
