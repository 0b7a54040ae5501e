import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { z } from 'zod';

/** The faults that a robot can have, for tests. */
export const FAULTS = [
  /** Answers nothing. */
  'silent',
  /** Its ffmpeg ends at once. */
  'ffmpeg-failed',
  /** Answers after five seconds. */
  'slow',
  /** Answers only with `dm`, as some robots do. */
  'terse',
] as const;
export type Fault = (typeof FAULTS)[number];

export interface RobotSettings {
  readonly robotId: string;
  readonly url: string;
  readonly cameras: readonly string[];
  readonly faults: readonly Fault[];
  readonly width: number;
  readonly height: number;
  readonly framesPerSecond: number;
  readonly audio: 'aac' | 'opus' | 'none';
  /** The font file for the clock. If undefined, the first font that is found is used, or there is no clock. */
  readonly fontFile: string | undefined;
  readonly ffmpeg: string;
  /** Called for every connection. Throws if there is no token. */
  readonly token: () => string;
}

/** Thrown if options can't be used; the message names them. */
export class OptionsError extends Error {
  override readonly name = 'OptionsError';
}

/** Each option is also an environment variable: `--frame-rate` is WEIR_ROBOT_FRAME_RATE. */
const OPTIONS = [
  'id',
  'token',
  'credentials',
  'url',
  'cameras',
  'faults',
  'size',
  'frame-rate',
  'audio',
  'font',
] as const;

const listOf = (text: string): string[] =>
  text
    .split(',')
    .map((value) => value.trim())
    .filter((value) => value !== '');

const schema = z.object({
  id: z.string().min(1),
  token: z.string().min(1).optional(),
  credentials: z.string().min(1).optional(),
  url: z.url({ protocol: /^wss?$/ }).default('ws://127.0.0.1:8080/channel/robot'),
  cameras: z.string().default('front,back').transform(listOf).pipe(z.array(z.string()).min(1)),
  faults: z
    .string()
    .default('')
    .transform(listOf)
    .pipe(z.array(z.enum(FAULTS))),
  size: z
    .string()
    .regex(/^\d{2,4}x\d{2,4}$/, 'must be <width>x<height>')
    .default('640x360'),
  'frame-rate': z.coerce.number().int().min(1).max(120).default(25),
  audio: z.enum(['aac', 'opus', 'none']).default('aac'),
  font: z.string().min(1).optional(),
});

const credentialsSchema = z.object({
  robots: z.array(z.object({ id: z.string(), token: z.string().min(1) }).catch({ id: '', token: '' })),
});

const tokenIn = (file: string, robotId: string): string => {
  const { robots } = credentialsSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
  const token = robots.find(({ id }) => id === robotId)?.token;
  if (token === undefined) throw new OptionsError(`${file} has no token for ${robotId}`);
  return token;
};

/**
 * Reads `--option value`, and otherwise `WEIR_ROBOT_OPTION`.
 * @throws OptionsError
 */
export function parseSettings(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): RobotSettings {
  const given = Object.fromEntries(
    OPTIONS.map((name) => [name, env[`WEIR_ROBOT_${name.toUpperCase().replaceAll('-', '_')}`] || undefined]),
  );
  const result = schema.safeParse({ ...given, ...argumentsIn(args) });
  if (!result.success) {
    const lines = result.error.issues.map(({ path, message }) => `  --${String(path[0])}: ${message}`);
    throw new OptionsError(`These options can't be used:\n${lines.join('\n')}`);
  }
  const { id: robotId, token, credentials, url, cameras, faults, size, audio, font } = result.data;
  if (token === undefined && credentials === undefined)
    throw new OptionsError('Give the robot --token or --credentials');
  const [width = 0, height = 0] = size.split('x').map(Number);
  return {
    robotId,
    url,
    cameras,
    faults,
    width,
    height,
    framesPerSecond: result.data['frame-rate'],
    audio,
    fontFile: font,
    ffmpeg: env['FFMPEG_BIN'] || 'ffmpeg',
    token: () => token ?? tokenIn(credentials ?? '', robotId),
  };
}

function argumentsIn(args: readonly string[]): Readonly<Record<string, unknown>> {
  try {
    const options = Object.fromEntries(OPTIONS.map((name) => [name, { type: 'string' as const }]));
    return parseArgs({ args: [...args], options, allowPositionals: false }).values;
  } catch (error) {
    throw new OptionsError(error instanceof Error ? error.message : String(error));
  }
}
