import { Buffer } from 'node:buffer';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { RtspDecoder } from '../src/codec.js';

export type Side = 'client' | 'server';

export interface TranscriptEntry {
  readonly from: Side;
  /** A message as it was sent, or `$<channel>` for interleaved frames. */
  readonly text: string;
}

const FOLDER = join(import.meta.dirname, 'transcripts');

/** Specs with real programs write their messages into testing/transcripts; transcripts.spec.ts replays them. */
export const isRecording = process.env['RECORD_TRANSCRIPTS'] === '1';

/** The messages of a client and a server: recorded once with real programs, and replayed ever since. */
export class Transcript {
  readonly entries: TranscriptEntry[] = [];
  #sides = { client: new Splitter(), server: new Splitter() };

  bytes(from: Side, bytes: Uint8Array): void {
    if (!isRecording) return;
    for (const text of this.#sides[from].split(bytes)) if (!this.#isRepeated(text)) this.entries.push({ from, text });
  }

  /** Between two messages, frames of one channel are written only once. */
  #isRepeated(text: string): boolean {
    if (!text.startsWith('$')) return false;
    const last = this.entries.findLast((entry) => !entry.text.startsWith('$') || entry.text === text);
    return last?.text === text;
  }

  save(name: string, about: string): void {
    mkdirSync(FOLDER, { recursive: true });
    const blocks = this.entries.map(({ from, text }) => `${from === 'client' ? '>>>' : '<<<'} ${from}\n${text}\n`);
    writeFileSync(join(FOLDER, `${name}.txt`), `${about}\n${blocks.join('')}`);
  }

  static load(name: string): readonly TranscriptEntry[] {
    const text = readFileSync(join(FOLDER, `${name}.txt`), 'utf8');
    const [, ...blocks] = text.split(/^(?=>>> client$|<<< server$)/m);
    return blocks.map((block) => {
      const end = block.indexOf('\n');
      return { from: block.startsWith('>>>') ? 'client' : 'server', text: block.slice(end + 1, -1) };
    });
  }

  static names(): string[] {
    return readdirSync(FOLDER).map((file) => basename(file, '.txt'));
  }
}

/** The bytes of an entry; a frame gets an invented payload. */
export function wireBytes({ text }: TranscriptEntry): Buffer {
  const frame = /^\$(\d+)$/.exec(text);
  if (frame) return Buffer.from([0x24, Number(frame[1]), 0, 4, 0x80, 0x60, 0, 1]);
  return Buffer.from(text.replaceAll('\n', '\r\n'), 'utf8');
}

/** Reads byte by byte, so that the bytes of each event are known. */
class Splitter {
  #decoder = new RtspDecoder();
  #pending: number[] = [];

  split(bytes: Uint8Array): string[] {
    const texts: string[] = [];
    for (const byte of bytes) {
      this.#pending.push(byte);
      for (const event of this.#decoder.push(Uint8Array.of(byte))) {
        const text = Buffer.from(this.#pending).toString('utf8').replaceAll('\r\n', '\n');
        texts.push(event.tag === 'interleaved' ? `$${event.channel}` : text);
        this.#pending = [];
      }
    }
    return texts;
  }
}
