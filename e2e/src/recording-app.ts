import { z } from 'zod';
import type { Joining } from './recording-page.js';

const ANSWER_TIMEOUT_MS = 10_000;

const iceServers = z.array(
  z.object({ urls: z.array(z.string()), username: z.string().optional(), credential: z.string().optional() }),
);
export const newSession = z.object({
  session_id: z.string(),
  ws_endpoint: z.string(),
  ice_credentials: z.object({ iceServers }),
});

const joiningOf = (json: unknown) => {
  const { session_id, ws_endpoint, ice_credentials } = newSession.parse(json);
  return {
    ...{ id: session_id, endpoint: ws_endpoint },
    iceServers: ice_credentials.iceServers.map(({ urls, username = '', credential = '' }) => ({
      ...{ urls, username, credential },
    })),
  };
};

/** A service that has its users' sessions recorded: it holds a master key. */
export class RecordingApp {
  constructor(private readonly options: { readonly httpUrl: string; readonly masterKey: string }) {}

  async ask(path: string, body: object | undefined, token?: string): Promise<{ status: number; json: unknown }> {
    const response = await fetch(this.options.httpUrl + path, {
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
      ...(body !== undefined && { method: 'POST', body: JSON.stringify(body) }),
      ...(token !== undefined && { headers: { authorization: `Bearer ${token}` } }),
    });
    return { status: response.status, json: await response.json() };
  }

  async tokenFor(kind: 'client' | 'supervisor' | 'stats', body: object): Promise<string> {
    const { json } = await this.ask(`/auth_v2/${kind}`, { master_key: this.options.masterKey, ...body });
    return z.object({ auth_token: z.string() }).parse(json).auth_token;
  }

  /** A new session of a client. */
  async session(clientId: string, options: { readonly token_ttl_s?: number } = {}): Promise<Joining> {
    const token = await this.tokenFor('client', { client_id: clientId, ...options });
    const { json } = await this.ask('/api/v2/session', { client_id: clientId }, token);
    return { token, clientId, ...joiningOf(json) };
  }

  /** A new session in which a supervisor watches the client. */
  async supervision(supervisorId: string, clientId: string): Promise<Joining> {
    const token = await this.tokenFor('supervisor', { client_id: supervisorId, client_to_monitor: clientId });
    const asking = { client_id: supervisorId, client_id_to_monitor: clientId };
    const { json } = await this.ask('/api/v2/supervisor_session', asking, token);
    return { token, clientId: supervisorId, ...joiningOf(json) };
  }
}
