import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { waitFor } from '@weir/testing';
import { serveOnLoopback } from './loopback-server.js';

type Body = Readonly<Record<string, unknown>>;

/** Takes uploads by PUT, as a store for presigned URLs does, and webhooks by POST. */
export interface UploadReceiver {
  readonly webhookUrl: string;
  uploadUrl(name: string): string;
  /** Where an upload lies when it is complete. */
  file(name: string): Promise<string>;
  /** The webhook of this status that is about this recording or session. */
  webhook(status: string, id: string): Promise<Body>;
  /** All webhooks so far, each with the id of its event. */
  readonly webhooks: readonly { readonly id: string; readonly body: Body }[];
  close(): Promise<void>;
}

export async function startUploadReceiver(): Promise<UploadReceiver> {
  const dir = await mkdtemp(join(tmpdir(), 'weir-uploads-'));
  const stored = new Set<string>();
  const webhooks: { id: string; body: Body }[] = [];
  const statusFor = async (request: IncomingMessage): Promise<number> => {
    const { method, headers, url = '' } = request;
    const body = await buffer(request);
    if (method === 'POST') {
      webhooks.push({ id: String(headers['webhook-id']), body: JSON.parse(body.toString()) as Body });
      return 204;
    }
    if (method !== 'PUT' || headers.authorization !== undefined) return 400;
    if (headers['content-type'] !== 'video/webm' || Number(headers['content-length']) !== body.length) return 411;
    const name = url.slice(1);
    await writeFile(join(dir, name), body);
    stored.add(name);
    return 200;
  };
  const server = await serveOnLoopback((request, response) => {
    statusFor(request).then(
      (status) => response.writeHead(status).end(),
      () => response.destroy(),
    );
  });
  const options = { timeoutMs: 60_000, intervalMs: 100 };
  return {
    webhooks,
    webhookUrl: `${server.url}/hook`,
    uploadUrl: (name) => `${server.url}/${name}`,
    file: async (name) => {
      await waitFor(() => stored.has(name), { ...options, what: `the upload ${name}` });
      return join(dir, name);
    },
    webhook: async (status, id) => {
      const of = ({ body }: { body: Body }) =>
        body['status'] === status && (body['rec_id'] === id || body['session_id'] === id);
      const found = await waitFor(() => webhooks.find(of), { ...options, what: `the webhook ${status} of ${id}` });
      return found.body;
    },
    close: async () => {
      await server.close();
      await rm(dir, { recursive: true });
    },
  };
}
