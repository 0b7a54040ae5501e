import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { z } from 'zod';

const serverPasswords = z.object({ nats: z.string().min(1), redis: z.string().min(1), postgres: z.string().min(1) });

/** The passwords of the servers that the supervisor starts; no user needs them. */
export type ServerPasswords = z.output<typeof serverPasswords>;

/** Reads the passwords, which are made at the first start. */
export function ensureServerPasswords(path: string): ServerPasswords {
  if (existsSync(path)) return serverPasswords.parse(JSON.parse(readFileSync(path, 'utf8')));
  const password = () => randomBytes(24).toString('base64url');
  const passwords = { nats: password(), redis: password(), postgres: password() };
  writePrivateFile(path, JSON.stringify(passwords, null, 2));
  return passwords;
}

/** Reads the secret that the TURN server shares with the services; it is made at the first start. */
export function ensureTurnSecret(path: string): string {
  if (!existsSync(path)) writePrivateFile(path, randomBytes(32).toString('base64url'));
  return readFileSync(path, 'utf8').trim();
}

/** At the first start, makes the key with which auth signs its tokens (Ed25519, PKCS #8 in PEM). */
export function ensureSigningKey(path: string): void {
  if (existsSync(path)) return;
  const { privateKey } = generateKeyPairSync('ed25519');
  writePrivateFile(path, privateKey.export({ type: 'pkcs8', format: 'pem' }));
}

/** Writes the whole file or none of it; only its owner can read it. */
export function writePrivateFile(path: string, content: string | Buffer): void {
  writeFileSync(`${path}.new`, content, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}
