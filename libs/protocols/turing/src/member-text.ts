const BLANK = /[ \t\n\r]*/y;
const STRING = /"[^"\\]*(?:\\.[^"\\]*)*"/y;
const SCALAR = /[^,\]}\s]+/y;
/** Up to the next thing that opens, closes or quotes. */
const PLAIN = /[^"[\]{}]*/y;

/** Reads a text that JSON.parse has accepted, so nothing here has to doubt its grammar. */
class Reader {
  #at = 0;

  constructor(private readonly text: string) {}

  take(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.text)?.[0] ?? '';
    this.#at += found.length;
    return found;
  }

  /** The next character that isn't blank, not taken. */
  peek(): string {
    this.take(BLANK);
    return this.text.charAt(this.#at);
  }

  skip(): void {
    this.#at += 1;
  }

  /** A whole value as it is written. */
  value(): string {
    const first = this.peek();
    const start = this.#at;
    if (first === '"') return this.take(STRING);
    if (first !== '{' && first !== '[') return this.take(SCALAR);
    let depth = 0;
    do {
      this.take(PLAIN);
      const next = this.text.charAt(this.#at);
      if (next === '') break;
      if (next === '"') {
        this.take(STRING);
        continue;
      }
      depth += next === '{' || next === '[' ? 1 : -1;
      this.skip();
    } while (depth > 0);
    return this.text.slice(start, this.#at);
  }
}

/**
 * The members of a JSON object, each as the text that it was written with: numbers keep all their digits and strings
 * their escapes. Of members of one name the last counts, as in JSON.parse.
 *
 * @param text that JSON.parse has made an object of
 */
export const memberTexts = (text: string): ReadonlyMap<string, string> => {
  const members = new Map<string, string>();
  const reader = new Reader(text);
  reader.peek();
  reader.skip();
  while (reader.peek() === '"') {
    const name = String(JSON.parse(reader.take(STRING)));
    reader.peek();
    reader.skip();
    members.set(name, reader.value());
    if (reader.peek() !== ',') break;
    reader.skip();
  }
  return members;
};
