import { promisify } from 'node:util';
import { gzip } from 'node:zlib';

const compress = promisify(gzip);

/** Compresses each of the most recent texts once, because all viewers of a stream ask for the same text. */
export class GzippedTexts {
  readonly #known = new Map<string, Promise<Buffer>>();

  constructor(private readonly maxTexts = 100) {}

  of(text: string): Promise<Buffer> {
    const compressed = this.#known.get(text) ?? compress(text);
    // A text is deleted and set again so that the map's order is the order of last use.
    this.#known.delete(text);
    this.#known.set(text, compressed);
    if (this.#known.size > this.maxTexts) {
      const oldest = this.#known.keys().next();
      if (oldest.done !== true) this.#known.delete(oldest.value);
    }
    return compressed;
  }
}

/** Whether Accept-Encoding allows gzip, by name or by `*` (RFC 9110 §12.5.3). */
export function takesGzip(acceptEncoding: string | undefined): boolean {
  const weights = new Map(
    (acceptEncoding ?? '').split(',').map((entry) => {
      const [coding = '', ...parameters] = entry.split(';').map((part) => part.trim().toLowerCase());
      const weight = parameters.find((parameter) => parameter.startsWith('q='));
      return [coding, weight === undefined ? 1 : Number(weight.slice(2))] as const;
    }),
  );
  return (weights.get('gzip') ?? weights.get('x-gzip') ?? weights.get('*') ?? 0) > 0;
}
