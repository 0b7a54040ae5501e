const MAX_SENT_LENGTH = 2_000;
const MAX_TEXT_LENGTH = 1_200;
const MAX_LINES_A_SECOND = 20;
const SECRET_NAMES = /pass|secret|token|authori[sz]ation|cookie|credential|^(?:key|custom|payload)$/i;
const SECRET_LINES = /^(a=(?:ice-pwd|crypto):).*$/gm;
const WITHHELD = '[withheld]';
/** `JSON.parse` reads any depth; `JSON.stringify` overflows the stack at some thousands of levels. */
const MAX_DEPTH = 16;
const TOO_DEEP = '[deeper]';

/**
 * What a client sent, as text for the log: shortened, without passwords, tokens and keys, and without the data that
 * applications exchange. A string that holds JSON is parsed first.
 */
export function sentText(sent: unknown): string {
  const text = JSON.stringify(shown('', typeof sent === 'string' ? (jsonIn(sent) ?? sent) : sent, MAX_DEPTH)) ?? '';
  return shortened(text, MAX_SENT_LENGTH);
}

const jsonIn = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // shown as it is
  }
};

const shown = (name: string, value: unknown, depth: number): unknown => {
  if (SECRET_NAMES.test(name) && value !== undefined && value !== null) return WITHHELD;
  if (typeof value === 'string') return shortened(value.replace(SECRET_LINES, `$1${WITHHELD}`), MAX_TEXT_LENGTH);
  if (typeof value !== 'object' || value === null) return value;
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (depth === 0) return TOO_DEEP;
  if (Array.isArray(value)) return value.map((item) => shown('', item, depth - 1));
  return Object.fromEntries(Object.entries(value).map(([inner, item]) => [inner, shown(inner, item, depth - 1)]));
};

const shortened = (text: string, maxLength: number): string =>
  text.length <= maxLength ? text : `${text.slice(0, maxLength)}… (${text.length} characters)`;

/**
 * Logs one line for each refused or failed request. It writes only the first few of each second, and the next line says
 * how many were left out: provoking refusals costs a client nothing, so it mustn't be able to flood the log.
 */
export class RefusalLog {
  #second = 0;
  #lines = 0;
  #leftOut = 0;

  constructor(private readonly log: { info?(fields: object, message: string): void }) {}

  /** @param sent what the client sent; logged in the form of `sentText` */
  say(message: string, fields: object, sent?: unknown): void {
    const second = Math.floor(performance.now() / 1_000);
    if (second !== this.#second) [this.#second, this.#lines] = [second, 0];
    this.#lines += 1;
    if (this.#lines > MAX_LINES_A_SECOND) {
      this.#leftOut += 1;
      return;
    }
    const leftOut = this.#leftOut;
    this.#leftOut = 0;
    this.log.info?.(
      { ...fields, ...(sent !== undefined && { sent: sentText(sent) }), ...(leftOut > 0 && { leftOut }) },
      message,
    );
  }
}
