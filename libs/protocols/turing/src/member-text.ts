const BLANK = /[ \t\n\r]*/y;
const STRING = /"[^"\\]*(?:\\.[^"\\]*)*"/y;
const SCALAR = /[^,\]}\s]+/y;
/** Everything up to the next bracket, brace or quote. */
const PLAIN = /[^"[\]{}]*/y;

/** Reads a text that JSON.parse has accepted, so it doesn't check the grammar. */
class Reader {
  #at = 0;

  constructor(private readonly text: string) {}

  take(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.text)?.[0] ?? '';
    this.#at += found.length;
    return found;
  }

  /** Returns the next character that isn't blank, without taking it. */
  peek(): string {
    this.take(BLANK);
    return this.text.charAt(this.#at);
  }

  skip(): void {
    this.#at += 1;
  }

  /** Returns a whole value as it is written. */
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
 * Returns the members of a JSON object, each as its original text, so that numbers keep all their digits and strings
 * keep their escapes. If a name occurs more than once, the last member counts, as in JSON.parse.
 *
 * @param text a text that JSON.parse has read as an object
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
