export interface Table {
  title: string;
  columns: readonly string[];
  /** The first cell of a row is its name. */
  rows: readonly (readonly (string | number)[])[];
  /** What readers must know to judge the figures. */
  note?: string;
}

/** Formats a table as text: the first column is left-aligned, the others are right-aligned. */
export function formatTable({ title, columns, rows, note }: Table): string {
  const cells = [columns, ...rows].map((row) => row.map((cell) => (typeof cell === 'number' ? figure(cell) : cell)));
  const widths = columns.map((_column, index) => Math.max(...cells.map((row) => row[index]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    widths.map((width, index) => pad(row[index] ?? '', width, index === 0)).join('  ');
  const [head = [], ...body] = cells;
  return [
    title,
    line(head),
    widths.map((width) => '-'.repeat(width)).join('  '),
    ...body.map(line),
    ...(note === undefined ? [] : [note]),
  ].join('\n');
}

const SMALLEST = 0.000_05;

/** Three significant digits, or all digits of a whole number. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '-';
  if (Number.isInteger(value) || Math.abs(value) >= 1_000) return Math.round(value).toLocaleString('en-US');
  if (Math.abs(value) < SMALLEST) return '0';
  return value.toFixed(Math.min(2 - Math.floor(Math.log10(Math.abs(value))), 4));
}

const pad = (text: string, width: number, left: boolean) => (left ? text.padEnd(width) : text.padStart(width));
