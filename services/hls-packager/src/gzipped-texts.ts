import { promisify } from 'node:util';
import { gzip } from 'node:zlib';

const compress = promisify(gzip);

/** The last few texts, each compressed once, because all viewers of a stream ask for the same. */
export class GzippedTexts {
  private readonly known = new Map<string, Promise<Buffer>>();

  constructor(private readonly maxTexts = 100) {}

  of(text: string): Promise<Buffer> {
    const compressed = this.known.get(text) ?? compress(text);
    // Deleted and set again: the map's order is the order of last use.
    this.known.delete(text);
    this.known.set(text, compressed);
    if (this.known.size > this.maxTexts) {
      const oldest = this.known.keys().next();
      if (oldest.done !== true) this.known.delete(oldest.value);
    }
    return compressed;
  }
}

/** Whether Accept-Encoding has gzip, by name or by `*`, and doesn't refuse it (RFC 9110, 12.5.3). */
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
