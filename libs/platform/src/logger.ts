import type { LoggerService } from '@nestjs/common';
import { trace } from '@opentelemetry/api';
import { pino, type Logger, type DestinationStream } from 'pino';
import { logOutput } from './log-output.js';
import { withheldSecrets } from './withheld-secrets.js';

export type { Logger } from 'pino';

/** Fields that never reach a log, at up to three levels of nesting. */
const SECRET_FIELDS = [
  'password',
  'secret',
  'token',
  'authToken',
  'authorization',
  'cookie',
  'key',
  'hookSecret',
  'custom',
  'offerSdp',
  'answerSdp',
  'sdp',
];

const redactedPaths = SECRET_FIELDS.flatMap((field) => [field, `*.${field}`, `*.*.${field}`]);

/** Structured logs: each line is one JSON object with a constant message, fields, and the trace that it belongs to. */
export const createLogger = (service: string, instanceId: string, level: string, to?: DestinationStream): Logger =>
  pino(
    {
      level,
      base: { service, instanceId },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: redactedPaths, censor: '[redacted]' },
      // For secrets in other fields, in errors and in the output of other programs.
      hooks: { streamWrite: withheldSecrets },
      mixin: () => {
        const span = trace.getActiveSpan()?.spanContext();
        return span === undefined ? {} : { traceId: span.traceId, spanId: span.spanId };
      },
    },
    to ?? logOutput(1),
  );

/** Writes Nest's messages to the service's log. Its list of routes and modules appears at `debug` only. */
export const nestLogger = (log: Logger): LoggerService => ({
  log: (message: unknown, ...rest: unknown[]) => log.debug({ nest: rest }, String(message)),
  debug: (message: unknown, ...rest: unknown[]) => log.trace({ nest: rest }, String(message)),
  verbose: (message: unknown, ...rest: unknown[]) => log.trace({ nest: rest }, String(message)),
  warn: (message: unknown, ...rest: unknown[]) => log.warn({ nest: rest }, String(message)),
  error: (message: unknown, ...rest: unknown[]) =>
    log[isBrokenOff(message) ? 'debug' : 'error']({ nest: rest }, String(message)),
  fatal: (message: unknown, ...rest: unknown[]) => log.fatal({ nest: rest }, String(message)),
});

/** Node's error for a request that the client broke off; it isn't a fault of the service. */
const isBrokenOff = (message: unknown): boolean =>
  message instanceof Error && message.message === 'aborted' && 'code' in message && message.code === 'ECONNRESET';
