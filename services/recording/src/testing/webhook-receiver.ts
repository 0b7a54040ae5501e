import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

export interface ToldWebhook {
  readonly id: string;
  readonly body: Readonly<Record<string, unknown>>;
}

/** Receives webhooks. */
export class WebhookReceiver {
  readonly told: ToldWebhook[] = [];
  /** The statuses of the answers to the next requests; 200 when none is left. */
  readonly statuses: number[] = [];

  private constructor(private readonly server: Server) {}

  static async open(): Promise<WebhookReceiver> {
    const server = createServer((request, response) => {
      void text(request).then((body) => {
        const status = receiver.statuses.shift() ?? 200;
        if (status < 300)
          receiver.told.push({
            id: String(request.headers['webhook-id']),
            body: JSON.parse(body) as ToldWebhook['body'],
          });
        response.writeHead(status).end();
      });
    });
    const receiver = new WebhookReceiver(server);
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return receiver;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/hook?key=hidden`;
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
