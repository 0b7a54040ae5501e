import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Asked {
  readonly method: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  readonly body: any;
}

export type Answer = { readonly status: number; readonly body?: unknown } | 'hang up' | 'say nothing';

/** An application's backend on loopback. It records the questions and answers them with `answer`. */
export class Backend {
  readonly asked: Asked[] = [];
  answer: (asked: Asked) => Answer = () => ({ status: 200, body: {} });

  private constructor(private readonly server: Server) {}

  static async start(): Promise<Backend> {
    const server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        const asked = {
          method: (request.url ?? '').replace('/app/', ''),
          headers: request.headers,
          text,
          body: JSON.parse(text) as unknown,
        };
        backend.asked.push(asked);
        const answer = backend.answer(asked);
        if (answer === 'say nothing') return;
        if (answer === 'hang up') request.socket.destroy();
        else response.writeHead(answer.status, { 'content-type': 'application/json' }).end(JSON.stringify(answer.body));
      });
    });
    const backend = new Backend(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return backend;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/app`;
  }

  of(method: string): Asked[] {
    return this.asked.filter((one) => one.method === method);
  }

  reset(): void {
    this.asked.length = 0;
    this.answer = () => ({ status: 200, body: {} });
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }
}
