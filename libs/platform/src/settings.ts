import { z } from 'zod';

/** A service's settings: the name of each environment variable, its type, its default and its meaning. */
export type SettingsShape = Readonly<Record<string, z.ZodType>>;
export type Settings<Shape extends SettingsShape> = { [Name in keyof Shape]: z.output<Shape[Name]> };

/** Thrown when settings are missing or wrong; the message lists all of them. */
export class SettingsError extends Error {
  override readonly name = 'SettingsError';
}

/** A TCP or UDP port. */
export const portSetting = (defaultPort?: number) => {
  const port = z.coerce.number().int().min(0).max(65_535);
  return defaultPort === undefined ? port : port.default(defaultPort);
};

/** True for `1`, `true`, `yes` and `on`; false for `0`, `false`, `no`, `off` and an empty value. */
export const flagSetting = (defaultValue = false) =>
  z
    .enum(['1', 'true', 'yes', 'on', '0', 'false', 'no', 'off', ''])
    .default(defaultValue ? '1' : '0')
    .transform((text) => ['1', 'true', 'yes', 'on'].includes(text));

/** Whole milliseconds. */
export const millisecondsSetting = (defaultMs: number, minMs = 0) =>
  z.coerce.number().int().min(minMs).default(defaultMs);

/** A whole number. */
export const countSetting = (defaultCount: number, min = 0) => z.coerce.number().int().min(min).default(defaultCount);

/** Values separated by commas; blanks around them are ignored. */
export const listSetting = (defaultValues: readonly string[] = []) =>
  z
    .string()
    .default(defaultValues.join(','))
    .transform((text) =>
      text
        .split(',')
        .map((value) => value.trim())
        .filter((value) => value !== ''),
    );

/** The settings that every service has. */
export const platformSettings = {
  NATS_URL: z.string().min(1).default('nats://127.0.0.1:4222').describe('NATS servers, separated by commas.'),
  REDIS_URL: z.string().min(1).default('redis://127.0.0.1:6379').describe('The Redis server.'),
  DATABASE_URL: z.string().optional().describe('The PostgreSQL database.'),
  WEIR_LISTEN_HOST: z.string().default('127.0.0.1').describe("Address of the service's own HTTP port."),
  WEIR_LISTEN_PORT: portSetting(0).describe("The service's own HTTP port; 0 lets the system choose."),
  WEIR_SINGLE_MACHINE: flagSetting().describe('All services run on one machine, started by `npm start`.'),
  WEIR_DRAIN_TIMEOUT_MS: millisecondsSetting(10_000).describe('How long work in progress may take at shutdown.'),
  LOG_LEVEL: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
    .default('info')
    .describe('The least severe level that is logged.'),
} as const satisfies SettingsShape;

export type PlatformSettings = Settings<typeof platformSettings>;

/**
 * Reads settings from an environment. A variable that is set but empty counts as not set.
 * @throws SettingsError naming every variable that is missing or wrong
 */
export function parseSettings<Shape extends SettingsShape>(
  shape: Shape,
  env: Readonly<Record<string, string | undefined>>,
): Settings<Shape> {
  const given = Object.fromEntries(
    Object.keys(shape).map((name) => [name, env[name] === '' ? undefined : env[name]] as const),
  );
  const result = z.object(shape).safeParse(given);
  if (result.success) return result.data as Settings<Shape>;
  const lines = result.error.issues.map((issue) => {
    const name = String(issue.path[0] ?? '');
    return `  ${name}: ${env[name] === undefined ? 'is not set' : issue.message}`;
  });
  throw new SettingsError(`These settings can't be used:\n${lines.join('\n')}`);
}

export interface SettingDescription {
  name: string;
  description: string;
  /** The default as it is written in the environment; empty when there is none. */
  defaultText: string;
}

/** The rows of the documentation's table of settings. */
export const describeSettings = (shape: SettingsShape): SettingDescription[] =>
  Object.entries(shape).map(([name, type]) => ({
    name,
    description: type.description ?? '',
    defaultText: defaultText(type),
  }));

function defaultText(type: z.ZodType): string {
  const result = type.safeParse(undefined);
  if (!result.success || result.data === undefined) return '';
  const value: unknown = result.data;
  if (typeof value === 'boolean') return value ? '1' : '0';
  return Array.isArray(value) ? value.join(',') : String(value);
}
