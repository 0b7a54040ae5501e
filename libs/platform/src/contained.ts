export interface Containment {
  readonly log: { error(fields: object, text: string): void };
  /** Whose bytes are handled, for the log. */
  readonly whose: string;
  /** Ends the connection that the bytes came by. */
  readonly giveUp: () => void;
}

/**
 * Returns `handle` as a listener of one connection. An error that nobody catches would end the process, with all other
 * connections; this one ends its own connection and is logged.
 */
export const contained =
  <Args extends readonly unknown[]>({ log, whose, giveUp }: Containment, handle: (...args: Args) => void) =>
  (...args: Args): void => {
    try {
      handle(...args);
    } catch (error) {
      log.error({ err: error }, `the connection of ${whose} is given up: what came by it could not be handled`);
      giveUp();
    }
  };
