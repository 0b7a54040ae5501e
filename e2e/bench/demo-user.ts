import { z } from 'zod';
import type { BenchPlatform } from './platform.js';

/** The tenant of the platform's demo user. */
export const DEMO_TENANT = 'demo';

const loginReply = z.object({ ret: z.object({ token: z.string() }) });

/** Logs in and returns a token that may publish and play everything of the demo tenant. */
export async function logIn({ httpUrl, user }: BenchPlatform): Promise<string> {
  const response = await fetch(`${httpUrl}/auth/`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(user),
  });
  return loginReply.parse(await response.json()).ret.token;
}

/** The RTSP URL at which a stream of the demo tenant is played. */
export const playUrlOf = ({ rtspUrl }: BenchPlatform, name: string, token: string): string =>
  `${rtspUrl}/${DEMO_TENANT}/${name}?token=${token}`;
