type Listener<Value> = (value: Value) => void;

/** Tells listeners what happens. A listener that throws doesn't keep the others from being told. */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<Listener<never>>>();

  /** @returns a function that ends the listening */
  on<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): () => void {
    const listeners = this.#listeners.get(name) ?? new Set<Listener<never>>();
    this.#listeners.set(name, listeners);
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  protected emit<Name extends keyof Events>(name: Name, value: Events[Name]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])] as Listener<Events[Name]>[])
      try {
        listener(value);
      } catch (error) {
        // The error belongs to the page; it is reported as an uncaught one.
        queueMicrotask(() => {
          throw error;
        });
      }
  }
}
