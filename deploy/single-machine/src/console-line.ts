const LEVELS = ['warn', 'error', 'fatal'];
/** Fields that mean nothing to somebody who watches one machine. */
const HIDDEN_FIELDS = new Set(['level', 'time', 'service', 'instanceId', 'msg', 'traceId', 'spanId']);
const MAX_FIELD_LENGTH = 200;

/**
 * What the console shows of a line that a service wrote. An entry of the structured log becomes one line if it is
 * severe enough. Anything else is shown unchanged, because it is a complaint of Node or of a library.
 *
 * @param least the least severe level that is shown: while everything starts, services warn that the others are missing
 * @returns undefined if only the log file gets the line
 */
export function consoleLine(service: string, line: string, least: 'warn' | 'error' = 'warn'): string | undefined {
  const entry = parseEntry(line);
  if (entry === undefined) return line.trim() === '' ? undefined : `${service}: ${line}`;
  if (LEVELS.indexOf(String(entry['level'])) < LEVELS.indexOf(least)) return undefined;
  const fields = Object.entries(entry)
    .filter(([name]) => !HIDDEN_FIELDS.has(name))
    .map(([name, value]) => `${name}=${fieldText(value)}`);
  return [`${service} ${String(entry['level'])}: ${String(entry['msg'] ?? '')}`, ...fields].join('  ');
}

function parseEntry(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null && 'level' in value ? { ...value } : undefined;
  } catch {
    return undefined; // not a log entry
  }
}

function fieldText(value: unknown): string {
  const error = typeof value === 'object' && value !== null && 'message' in value ? value.message : undefined;
  const text = String(error ?? (typeof value === 'object' ? JSON.stringify(value) : value)).replaceAll('\n', ' ');
  return text.length > MAX_FIELD_LENGTH ? `${text.slice(0, MAX_FIELD_LENGTH)}…` : text;
}
