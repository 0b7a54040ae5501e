/** Admits up to `capacity` tasks at the same time. The others wait in the order in which they came. */
export class Turnstile {
  readonly #waiting: (() => void)[] = [];
  #inside = 0;

  constructor(private readonly capacity: number) {}

  /** Returns the function with which the task leaves; undefined when no place becomes free in time. */
  async enter(timeoutMs: number): Promise<(() => void) | undefined> {
    if (this.#inside < this.capacity) {
      this.#inside += 1;
      return this.#ticket();
    }
    return new Promise((resolve) => {
      const admit = (): void => {
        clearTimeout(timer);
        resolve(this.#ticket());
      };
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(admit), 1);
        resolve(undefined);
      }, timeoutMs);
      this.#waiting.push(admit);
    });
  }

  #ticket(): () => void {
    let used = false;
    return () => {
      if (used) return;
      used = true;
      const next = this.#waiting.shift();
      // The place goes directly to the next task, so that no other task can take it.
      if (next === undefined) this.#inside -= 1;
      else next();
    };
  }
}
