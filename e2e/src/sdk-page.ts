import { waitFor } from '@weir/testing';
import type { BrowserContext, Page } from 'playwright-core';
import { openPage } from './browser.js';

export interface SdkEvent {
  /** `session`, or the id that the test gave the stream. */
  of: string;
  what: string;
  info?: unknown;
}

export interface StreamOptions {
  name: string;
  /** Further options of `Session.createStream`. */
  options?: Record<string, unknown>;
}

declare const Flashphoner: SdkGlobal;
interface SdkGlobal {
  init(options: object): void;
  createSession(options: object): SdkEmitter;
  constants: { SESSION_STATUS: Record<string, string>; STREAM_STATUS: Record<string, string>; STREAM_EVENT: string };
}
interface SdkEmitter {
  on(event: string, listener: (...values: never[]) => void): SdkEmitter;
  [method: string]: unknown;
}

/** A page that has loaded the unmodified WebSDK and records all events of the SDK. */
export class SdkPage {
  readonly frames: { sent: boolean; message: string; data: unknown[] }[] = [];

  private constructor(readonly page: Page) {}

  static async open(context: BrowserContext, siteUrl: string): Promise<SdkPage> {
    const page = await openPage(context, 'about:blank');
    const sdkPage = new SdkPage(page);
    page.on('websocket', (socket) => {
      socket.on('framesent', ({ payload }) => sdkPage.#note(true, payload));
      socket.on('framereceived', ({ payload }) => sdkPage.#note(false, payload));
    });
    await page.goto(siteUrl);
    await page.evaluate(() => {
      Object.assign(window, { events: [], streams: {} });
      Flashphoner.init({ preferredMediaProviders: ['WebRTC'] });
    });
    return sdkPage;
  }

  /** Opens a session and waits until the SDK calls it ESTABLISHED. */
  async connect(wsUrl: string, options: Record<string, unknown> = {}): Promise<void> {
    await this.startSession(wsUrl, options);
    await this.waitForEvent('session', 'ESTABLISHED');
  }

  startSession(wsUrl: string, options: Record<string, unknown> = {}): Promise<void> {
    return this.page.evaluate(
      ([urlServer, more]) => {
        const page = window as unknown as { events: object[]; session: SdkEmitter };
        const session = Flashphoner.createSession({ urlServer, ...more });
        for (const status of ['ESTABLISHED', 'DISCONNECTED', 'FAILED', 'WARN', 'APP_DATA', 'SEND_DATA_STATUS'])
          session.on(Flashphoner.constants.SESSION_STATUS[status] ?? status, (...values: never[]) => {
            // The SDK's first argument is the session itself, except for these two events.
            const info = values[status === 'WARN' || status === 'APP_DATA' ? 0 : 1];
            page.events.push({ of: 'session', what: status, info });
          });
        page.session = session;
      },
      [wsUrl, options] as const,
    );
  }

  publish(id: string, stream: StreamOptions): Promise<void> {
    return this.#start('publish', id, { cacheLocalResources: false, ...stream.options, name: stream.name });
  }

  play(id: string, stream: StreamOptions): Promise<void> {
    return this.#start('play', id, { ...stream.options, name: stream.name });
  }

  /** Calls a method of a stream that the test has started. */
  call(id: string, method: string, ...values: unknown[]): Promise<unknown> {
    return this.page.evaluate(
      async ([streamId, name, args]) => {
        const { streams } = window as unknown as { streams: Record<string, SdkEmitter> };
        const stream = streams[streamId];
        const member = stream?.[name];
        if (typeof member !== 'function') throw new Error(`no stream ${streamId} or no method ${name}`);
        const result: unknown = await member.apply(stream, args);
        return typeof result === 'object' ? undefined : result;
      },
      [id, method, values] as const,
    );
  }

  /** Calls `Stream.available()` for a stream that this page neither publishes nor plays. */
  available(name: string): Promise<{ available: boolean; info: string | undefined }> {
    return this.page.evaluate(async (streamName) => {
      const { session } = window as unknown as { session: { createStream(options: object): SdkEmitter } };
      const stream = session.createStream({ name: streamName });
      const info = () => (stream['getInfo'] as () => string | undefined).call(stream);
      try {
        await (stream['available'] as () => Promise<unknown>).call(stream);
        return { available: true, info: info() };
      } catch {
        return { available: false, info: info() };
      }
    }, name);
  }

  disconnect(): Promise<void> {
    return this.page.evaluate(() => {
      const { session } = window as unknown as { session: { disconnect(): void } };
      session.disconnect();
    });
  }

  events(): Promise<SdkEvent[]> {
    return this.page.evaluate(() => (window as unknown as { events: SdkEvent[] }).events);
  }

  async waitForEvent(of: string, what: string, timeoutMs = 20_000): Promise<SdkEvent> {
    let found: SdkEvent | undefined;
    let seen: SdkEvent[] = [];
    try {
      await waitFor(
        async () => {
          seen = await this.events();
          found = seen.find((event) => event.of === of && event.what === what);
          return found !== undefined;
        },
        { timeoutMs },
      );
    } catch (error) {
      throw new Error(`no ${what} of ${of}; the SDK's events were ${JSON.stringify(seen)}`, { cause: error });
    }
    if (found === undefined) throw new Error('unreachable');
    return found;
  }

  /** The data of the server's messages of one kind, as received from the socket. */
  framesReceived(message: string): unknown[][] {
    return this.frames.filter((frame) => !frame.sent && frame.message === message).map(({ data }) => data);
  }

  close(): Promise<void> {
    return this.page.close();
  }

  #note(sent: boolean, payload: string | Buffer): void {
    const frame = JSON.parse(payload.toString()) as { message: string; data: unknown[] };
    this.frames.push({ sent, ...frame });
  }

  #start(kind: 'publish' | 'play', id: string, options: Record<string, unknown>): Promise<void> {
    return this.page.evaluate(
      ([verb, streamId, streamOptions]) => {
        const page = window as unknown as {
          events: object[];
          streams: Record<string, SdkEmitter>;
          session: { createStream(options: object): SdkEmitter };
        };
        const display = document.getElementById(verb === 'publish' ? 'local' : 'remote');
        const stream = page.session.createStream({ display, ...streamOptions });
        for (const status of Object.values(Flashphoner.constants.STREAM_STATUS))
          stream.on(status, (() =>
            page.events.push({
              of: streamId,
              what: status,
              info: (stream['getInfo'] as () => unknown).call(stream) ?? undefined,
            })) as never);
        stream.on(Flashphoner.constants.STREAM_EVENT, ((event: { type: string; payload: unknown }) =>
          page.events.push({ of: streamId, what: event.type, info: event.payload })) as never);
        stream.on('UPDATE', ((quality: string, client: number, server: number) =>
          page.events.push({ of: streamId, what: 'QUALITY', info: { quality, client, server } })) as never);
        page.streams[streamId] = stream;
        (stream[verb] as () => void).call(stream);
      },
      [kind, id, options] as const,
    );
  }
}
