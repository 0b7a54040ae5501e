export type HeaderEntry = readonly [name: string, value: string];

/** The header lines of one message, in order. The case of names doesn't matter, and a name may occur several times. */
export class RtspHeaders {
  private constructor(readonly entries: readonly HeaderEntry[]) {}

  static of(entries: Iterable<HeaderEntry> | Readonly<Record<string, string | undefined>> = []): RtspHeaders {
    if (isIterable(entries)) return new RtspHeaders([...entries]);
    const present: HeaderEntry[] = [];
    for (const [name, value] of Object.entries(entries)) if (value !== undefined) present.push([name, value]);
    return new RtspHeaders(present);
  }

  /** Returns the first value of a name. */
  get(name: string): string | undefined {
    const wanted = name.toLowerCase();
    return this.entries.find(([candidate]) => candidate.toLowerCase() === wanted)?.[1];
  }

  all(name: string): string[] {
    const wanted = name.toLowerCase();
    return this.entries.filter(([candidate]) => candidate.toLowerCase() === wanted).map(([, value]) => value);
  }

  /** Replaces all lines with that name by one. */
  with(name: string, value: string): RtspHeaders {
    const wanted = name.toLowerCase();
    return new RtspHeaders([...this.entries.filter(([other]) => other.toLowerCase() !== wanted), [name, value]]);
  }

  /** Adds lines after the existing ones. */
  and(entries: Iterable<HeaderEntry>): RtspHeaders {
    return new RtspHeaders([...this.entries, ...entries]);
  }
}

function isIterable(
  entries: Iterable<HeaderEntry> | Readonly<Record<string, string | undefined>>,
): entries is Iterable<HeaderEntry> {
  return Symbol.iterator in entries;
}
