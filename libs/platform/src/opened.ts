import type { Logger } from './logger.js';

type Closing = () => void | Promise<void>;

/** What was opened, each part with its closing. They close in the reverse order, one after the other. */
export class Opened {
  readonly #closings: { readonly part: string; readonly close: Closing }[] = [];

  constructor(private readonly log: Pick<Logger, 'error'>) {}

  /** From now on the part is closed with the others. */
  add<Part extends { close(): void | Promise<void> }>(name: string, part: Part): Part {
    this.onClose(name, () => part.close());
    return part;
  }

  onClose(part: string, close: Closing): void {
    this.#closings.push({ part, close });
  }

  /** A part that can't be closed is logged and keeps no other from closing. Idempotent. */
  async close(): Promise<void> {
    for (const { part, close } of this.#closings.splice(0).reverse()) {
      try {
        await close();
      } catch (error) {
        this.log.error({ err: error, part }, 'a part of the service could not be closed');
      }
    }
  }
}

/** Opens parts in order. When one can't be opened, those before it are closed again. */
export async function openInOrder<Parts extends object>(
  log: Pick<Logger, 'error'>,
  open: (opened: Opened) => Promise<Parts>,
): Promise<Parts & { close(): Promise<void> }> {
  const opened = new Opened(log);
  try {
    return Object.assign(await open(opened), { close: () => opened.close() });
  } catch (error) {
    await opened.close();
    throw error;
  }
}
