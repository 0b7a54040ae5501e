/** One user's part of what several use. */
export interface Share<Value> {
  readonly value: Value;
  /** Idempotent. */
  release(): void;
}

export interface SharedOptions<Value> {
  close(value: Value): void;
  /** Nobody may come to use it any more: the last user has let go, or it was ended. */
  onOver(): void;
}

/** What is made for the first who uses it and closed with the last: a router, a pipe, a feed, a tap, an ffmpeg. */
export class Shared<Value> {
  private users = 0;
  private over = false;

  constructor(
    readonly value: Promise<Value>,
    private readonly options: SharedOptions<Value>,
  ) {}

  /** One more user, from now on. Throws what went wrong when it was made. */
  async use(): Promise<Share<Value>> {
    const release = this.hold();
    try {
      return { value: await this.value, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** One more user, who has the value already; returns how that user lets go of it. */
  hold(): () => void {
    this.users += 1;
    let released = false;
    return () => {
      if (released) return;
      released = true;
      this.users -= 1;
      if (this.users === 0) this.end();
    };
  }

  /** Closes it, whoever still uses it. Idempotent. */
  end(): void {
    if (this.over) return;
    this.over = true;
    this.options.onOver();
    this.value.then(
      (value) => this.options.close(value),
      () => undefined, // whoever asked for it has met the error
    );
  }
}

/** What the map has under the key, or what is made now; it leaves the map when it is over. */
export function sharedIn<Key, Value>(
  map: Map<Key, Shared<Value>>,
  key: Key,
  make: () => Promise<Value>,
  close: (value: Value) => void,
): Shared<Value> {
  const present = map.get(key);
  if (present !== undefined) return present;
  const made = new Shared(make(), { close, onOver: () => map.delete(key) });
  map.set(key, made);
  return made;
}
