const LEVELS = ['warn', 'error', 'fatal'];
/** Fields that say nothing to somebody who watches one machine. */
const HIDDEN_FIELDS = new Set(['level', 'time', 'service', 'instanceId', 'msg', 'traceId', 'spanId']);
const MAX_FIELD_LENGTH = 200;

/**
 * What the console shows of a line that a service wrote: of its structured log what is severe enough, in one line
 * each; anything else as it is, because it comes from Node or a library that found something to complain about.
 *
 * @param least the least severe level that is shown; while everything starts, warnings of the others' absence are not
 * @returns undefined for what only the log file gets
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
    return undefined; // not a log entry, then
  }
}

function fieldText(value: unknown): string {
  const error = typeof value === 'object' && value !== null && 'message' in value ? value.message : undefined;
  const text = String(error ?? (typeof value === 'object' ? JSON.stringify(value) : value)).replaceAll('\n', ' ');
  return text.length > MAX_FIELD_LENGTH ? `${text.slice(0, MAX_FIELD_LENGTH)}…` : text;
}
