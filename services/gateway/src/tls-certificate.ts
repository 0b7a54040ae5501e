import { readFile } from 'node:fs/promises';
import { unwatchFile, watchFile } from 'node:fs';
import { createSecureContext } from 'node:tls';
import type { TlsFiles } from './settings.js';
import type { EdgeLog } from './edge-log.js';

export interface Certificate {
  cert: Buffer;
  key: Buffer;
}

const POLL_MS = 2_000;

/** @throws Error naming the files if they can't be read or don't match each other */
export async function readCertificate({ certFile, keyFile }: TlsFiles): Promise<Certificate> {
  try {
    const [cert, key] = await Promise.all([readFile(certFile), readFile(keyFile)]);
    createSecureContext({ cert, key });
    return { cert, key };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`the certificate WEIR_TLS_CERT=${certFile}, WEIR_TLS_KEY=${keyFile} can't be used: ${reason}`, {
      cause: error,
    });
  }
}

/**
 * Reads the certificate again when one of its files changes or on request. While the new pair doesn't match, as between
 * the writing of one file and the other, the old one stays in use. Files are polled because certificates are often
 * renewed by swapping a symbolic link, which causes no file event.
 */
export class CertificateWatch {
  readonly #onChange = () => void this.reload();

  constructor(
    private readonly ports: {
      files: TlsFiles;
      use: (certificate: Certificate) => void;
      log: EdgeLog;
      pollMs?: number;
    },
  ) {
    for (const file of [ports.files.certFile, ports.files.keyFile])
      watchFile(file, { interval: ports.pollMs ?? POLL_MS, persistent: false }, this.#onChange);
  }

  async reload(): Promise<void> {
    const { files, use, log } = this.ports;
    try {
      use(await readCertificate(files));
      log.info({ certFile: files.certFile }, 'certificate read again');
    } catch (error) {
      log.error({ err: error }, 'the new certificate is not usable; the old one stays in use');
    }
  }

  close(): void {
    for (const file of [this.ports.files.certFile, this.ports.files.keyFile]) unwatchFile(file, this.#onChange);
  }
}
