import { z } from 'zod';

const port = (defaultPort: number) => z.coerce.number().int().min(1).max(65_535).default(defaultPort);

const portRange = (defaultRange: string) =>
  z
    .string()
    .default(defaultRange)
    .transform((text, context): readonly [number, number] => {
      const [first = NaN, last = NaN] = (/^(\d{1,5})-(\d{1,5})$/.exec(text) ?? []).slice(1).map(Number);
      if (first >= 1 && first <= last && last <= 65_535) return [first, last];
      context.addIssue('two ports with a hyphen between, the smaller one first');
      return z.NEVER;
    });

export const LOOPBACK = '127.0.0.1';

/** The settings of the single machine. The services read their own from the same environment. */
export const singleMachineSettings = {
  WEIR_HTTP_HOST: z
    .string()
    .default(LOOPBACK)
    .describe(
      'Address on which HTTP, WebSocket and RTSP are received. By default only this machine; 0.0.0.0 opens it to others.',
    ),
  WEIR_HTTP_PORT: port(8_080).describe('HTTP and WebSocket of all interfaces.'),
  WEIR_HTTPS_PORT: port(8_443).describe('The same over TLS, if WEIR_TLS_CERT and WEIR_TLS_KEY are set.'),
  WEIR_TLS_CERT: z.string().optional().describe('File with the TLS certificate and its chain (PEM).'),
  WEIR_TLS_KEY: z.string().optional().describe("File with the certificate's private key (PEM)."),
  WEIR_RTSP_PORT: port(8_554).describe('RTSP.'),
  WEIR_MEDIA_PORT: port(40_000).describe('Media over UDP and TCP; media worker i uses this port + i.'),
  WEIR_ANNOUNCED_ADDRESS: z
    .string()
    .default(LOOPBACK)
    .describe('The addresses at which clients reach the media ports, best first, separated by commas.'),
  WEIR_TURN: z
    .enum(['0', '1'])
    .default('0')
    .transform((text) => text === '1')
    .describe(
      '1 starts a TURN server (coturn), for clients that reach the media ports by no other way. See docs/turn.md.',
    ),
  WEIR_TURN_PORT: port(3_478).describe('TURN and STUN over UDP and TCP, on WEIR_HTTP_HOST.'),
  WEIR_TURN_TLS_PORT: port(5_349).describe(
    'TURN over TLS, if WEIR_TLS_CERT and WEIR_TLS_KEY are set; 443 passes most firewalls.',
  ),
  WEIR_TURN_RELAY_PORTS: portRange('49152-49663').describe(
    'UDP ports from which TURN relays, one for each allocation: the first and the last.',
  ),
  WEIR_DEMO_ROBOTS: z
    .enum(['0', '1'])
    .default('1')
    .transform((text) => text === '1')
    .describe('Two simulated robots for the demo tenant; 0 for none.'),
  WEIR_DATA_DIR: z.string().default('.weir').describe('Folder for all data, logs and credentials.'),
  DATABASE_URL: z.url().optional().describe('A PostgreSQL database to use instead of starting one.'),
  NATS_URL: z.string().optional().describe('NATS servers to use instead of starting one.'),
  REDIS_URL: z.url().optional().describe('A Redis server to use instead of starting one.'),
} as const;

export type SingleMachineSettings = z.output<z.ZodObject<typeof singleMachineSettings>>;

/** A reason not to start, in words that the user can act on. */
export class StartError extends Error {
  override readonly name = 'StartError';
}

/**
 * An empty variable counts as not set.
 * @throws StartError naming every setting that can't be used
 */
export function parseSingleMachineSettings(env: Readonly<Record<string, string | undefined>>): SingleMachineSettings {
  const given = Object.fromEntries(
    Object.keys(singleMachineSettings).map((name) => [name, env[name] === '' ? undefined : env[name]] as const),
  );
  const result = z.object(singleMachineSettings).safeParse(given);
  const problems = result.success
    ? contradictions(result.data)
    : result.error.issues.map((issue) => `${String(issue.path[0])}=${env[String(issue.path[0])]}: ${issue.message}`);
  if (!result.success || problems.length > 0)
    throw new StartError(`These settings can't be used:\n${problems.map((line) => `  ${line}`).join('\n')}`);
  return result.data;
}

function contradictions(settings: SingleMachineSettings): string[] {
  const problems: string[] = [];
  if ((settings.WEIR_TLS_CERT === undefined) !== (settings.WEIR_TLS_KEY === undefined))
    problems.push('WEIR_TLS_CERT and WEIR_TLS_KEY: TLS needs both');
  const ports = [
    ['WEIR_HTTP_PORT', settings.WEIR_HTTP_PORT],
    ['WEIR_RTSP_PORT', settings.WEIR_RTSP_PORT],
    ['WEIR_MEDIA_PORT', settings.WEIR_MEDIA_PORT],
    ...(settings.WEIR_TLS_CERT === undefined ? [] : [['WEIR_HTTPS_PORT', settings.WEIR_HTTPS_PORT] as const]),
    ...(settings.WEIR_TURN ? [['WEIR_TURN_PORT', settings.WEIR_TURN_PORT] as const] : []),
    ...(settings.WEIR_TURN && settings.WEIR_TLS_CERT !== undefined
      ? [['WEIR_TURN_TLS_PORT', settings.WEIR_TURN_TLS_PORT] as const]
      : []),
  ] as const;
  for (const [index, [name, value]] of ports.entries())
    for (const [other, otherValue] of ports.slice(index + 1))
      if (value === otherValue) problems.push(`${name} and ${other}: both are ${value}`);
  return problems;
}
