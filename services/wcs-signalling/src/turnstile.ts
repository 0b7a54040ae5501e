/** Lets a number of tasks in at the same time; the others wait in the order they came. */
export class Turnstile {
  readonly #waiting: (() => void)[] = [];
  #inside = 0;

  constructor(private readonly capacity: number) {}

  /** How to leave again; undefined when no place became free in time. */
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
      // The place is handed over, so that nobody slips in between.
      if (next === undefined) this.#inside -= 1;
      else next();
    };
  }
}
