/** The logger that the bus needs: each entry is a constant message with fields. A pino logger fits. */
export interface BusLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

const line = (level: string, fields: object, message: string): void => {
  const told = Object.entries(fields).map(([key, value]: [string, unknown]) => [
    key,
    value instanceof Error ? (value.stack ?? value.message) : value,
  ]);
  process.stderr.write(`${JSON.stringify({ level, msg: message, ...Object.fromEntries(told) })}\n`);
};

/** Used when the program passes no logger: JSON lines on standard error, warnings and errors only. */
export const stderrLog: BusLog = {
  debug: () => undefined,
  info: () => undefined,
  warn: (fields, message) => line('warn', fields, message),
  error: (fields, message) => line('error', fields, message),
};
