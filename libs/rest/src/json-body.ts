/** The result of reading a request's body as JSON, whatever its content type says. */
export type JsonReading =
  | { readonly tag: 'empty' }
  | { readonly tag: 'value'; readonly value: unknown }
  /** The message goes to the client. */
  | { readonly tag: 'refused'; readonly message: string };

const MAX_DEPTH = 64;

const refused = (message: string): JsonReading => ({ tag: 'refused', message });
const NOT_JSON = refused('The body must be JSON in UTF-8');

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** PostgreSQL stores no NUL in a text, and half of a surrogate pair isn't a character. */
const isText = (value: string): boolean => !value.includes('\0') && !/\p{Surrogate}/u.test(value);

/**
 * Reads JSON in UTF-8, with or without a byte order mark; the last of several members of one name counts. It also
 * refuses what no honest client sends: nesting that overflows the stack of code that walks the value, names that reach
 * into prototypes, and text that can't be stored.
 */
export const readJson = (bytes: Uint8Array): JsonReading => {
  let value: unknown;
  try {
    const text = utf8.decode(bytes);
    if (text.trim() === '') return { tag: 'empty' };
    value = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) return NOT_JSON;
    throw error;
  }
  return refusal(value) ?? { tag: 'value', value };
};

/** Walks level by level, so that deep nesting doesn't overflow the stack. */
const refusal = (value: unknown): JsonReading | undefined => {
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth >= MAX_DEPTH) return refused(`The body is nested too deeply: at most ${MAX_DEPTH} levels are allowed`);
    const below: unknown[] = [];
    for (const item of level) {
      if (typeof item === 'string' && !isText(item)) return NO_TEXT;
      if (typeof item !== 'object' || item === null) continue;
      for (const [name, member] of Object.entries(item)) {
        if (name === '__proto__') return refused('The body must have no member "__proto__"');
        if (!isText(name)) return NO_TEXT;
        below.push(member);
      }
    }
    level = below;
  }
  return undefined;
};

const NO_TEXT = refused('The body holds a NUL character or half of a surrogate pair, which no text may have');
