/** What a request's body says, whatever its content type claims. */
export type JsonReading =
  | { readonly tag: 'empty' }
  | { readonly tag: 'value'; readonly value: unknown }
  /** The message is for the client. */
  | { readonly tag: 'refused'; readonly message: string };

const MAX_DEPTH = 64;

const refused = (message: string): JsonReading => ({ tag: 'refused', message });
const NOT_JSON = refused('The body must be JSON in UTF-8');

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** No NUL, which PostgreSQL has in no text, and no half of a surrogate pair, which is no text at all. */
const isText = (value: string): boolean => !value.includes('\0') && !/\p{Surrogate}/u.test(value);

/**
 * JSON in UTF-8, with a byte order mark or without; the last of several members of one name counts. Refused is also what
 * no client means: nesting that overflows the stack of whoever walks it, names that reach into prototypes, and text
 * that can't be stored.
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

/** Level by level, so that no depth costs stack. */
const refusal = (value: unknown): JsonReading | undefined => {
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth >= MAX_DEPTH) return refused(`The body is nested too deeply: ${MAX_DEPTH} levels are taken`);
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
