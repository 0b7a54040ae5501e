import { Buffer } from 'node:buffer';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RtspEvent } from '../src/messages.js';

export type Side = 'client' | 'server';

export interface TranscriptEntry {
  readonly from: Side;
  /** A message's bytes as text, or `$<channel>` for interleaved frames. */
  readonly text: string;
}

const FOLDER = join(import.meta.dirname, 'transcripts');

/** What two peers said to each other: written down once with the real ones, replayed ever after. */
export class Transcript {
  readonly entries: TranscriptEntry[] = [];

  message(from: Side, bytes: Buffer): void {
    this.entries.push({ from, text: bytes.toString('utf8').replaceAll('\r\n', '\n') });
  }

  /** Runs of frames are written as one. */
  event(from: Side, event: RtspEvent, bytes: (message: Exclude<RtspEvent, { tag: 'interleaved' }>) => Buffer): void {
    if (event.tag !== 'interleaved') return this.message(from, bytes(event));
    const text = `$${event.channel}\n`;
    const seen = this.entries.findLast((entry) => !entry.text.startsWith('$') || entry.text === text);
    if (seen?.text !== text) this.entries.push({ from, text });
  }

  save(name: string, about: string): void {
    mkdirSync(FOLDER, { recursive: true });
    const blocks = this.entries.map(({ from, text }) => `${from === 'client' ? '>>>' : '<<<'} ${from}\n${text}`);
    writeFileSync(join(FOLDER, `${name}.txt`), `${about}\n${blocks.join('')}`);
  }

  static load(name: string): { readonly about: string; readonly entries: readonly TranscriptEntry[] } {
    const [about = '', ...blocks] = readFileSync(join(FOLDER, `${name}.txt`), 'utf8').split(
      /^(?=>>> client$|<<< server$)/m,
    );
    const entries = blocks.map((block): TranscriptEntry => {
      const end = block.indexOf('\n');
      return { from: block.startsWith('>>>') ? 'client' : 'server', text: block.slice(end + 1) };
    });
    return { about: about.trim(), entries };
  }

  /** The bytes of an entry as they were on the wire; a frame's payload is made up. */
  static bytesOf(entry: TranscriptEntry): Buffer {
    const frame = /^\$(\d+)\n$/.exec(entry.text);
    if (frame) return Buffer.from([0x24, Number(frame[1]), 0, 4, 0x80, 0x60, 0, 1]);
    return Buffer.from(entry.text.replaceAll('\n', '\r\n'), 'utf8');
  }
}
