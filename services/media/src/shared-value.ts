/** One user's hold on a shared value. */
export interface Share<Value> {
  readonly value: Value;
  /** Idempotent. */
  release(): void;
}

export interface SharedOptions<Value> {
  close(value: Value): void;
  /** Called when nobody may start to use it any more: the last user has released it, or it was ended. */
  onOver(): void;
}

/** A value that is made for its first user and closed with the last: a router, a pipe, a feed, a tap, an ffmpeg. */
export class Shared<Value> {
  #users = 0;
  #over = false;

  constructor(
    readonly value: Promise<Value>,
    private readonly options: SharedOptions<Value>,
  ) {}

  /** Adds a user and returns the value. Throws the error of making the value. */
  async use(): Promise<Share<Value>> {
    const release = this.hold();
    try {
      return { value: await this.value, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Adds a user that has the value already. Returns the function that releases it. */
  hold(): () => void {
    this.#users += 1;
    let released = false;
    return () => {
      if (released) return;
      released = true;
      this.#users -= 1;
      if (this.#users === 0) this.end();
    };
  }

  /** Closes the value, even if it still has users. Idempotent. */
  end(): void {
    if (this.#over) return;
    this.#over = true;
    this.options.onOver();
    this.value.then(
      (value) => this.options.close(value),
      () => undefined, // its users have got the error
    );
  }
}

/** Returns the map's value for the key, or makes it. It leaves the map when it is over. */
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
