import { inflateRawSync } from 'node:zlib';

// APPNOTE.TXT 4.3.16, 4.3.12, 4.3.7: signatures and lengths of a zip file's records.
const END_OF_DIRECTORY = { signature: 0x06054b50, bytes: 22 };
const DIRECTORY_ENTRY = { signature: 0x02014b50, bytes: 46 };
const LOCAL_HEADER_BYTES = 30;
const STORED = 0;
const DEFLATED = 8;

/** Reads one file of a zip archive that uses neither encryption nor zip64. @throws Error if the file isn't in it */
export function readZipEntry(zip: Buffer, wantedName: string): Buffer {
  let end = zip.length - END_OF_DIRECTORY.bytes;
  while (end >= 0 && zip.readUInt32LE(end) !== END_OF_DIRECTORY.signature) end--;
  if (end < 0) throw new Error('not a zip archive');
  let offset = zip.readUInt32LE(end + 16);
  for (let left = zip.readUInt16LE(end + 10); left > 0; left--) {
    if (zip.readUInt32LE(offset) !== DIRECTORY_ENTRY.signature) throw new Error('damaged zip archive');
    const method = zip.readUInt16LE(offset + 10);
    const compressedBytes = zip.readUInt32LE(offset + 20);
    const nameBytes = zip.readUInt16LE(offset + 28);
    const header = zip.readUInt32LE(offset + 42);
    const name = zip.toString('utf8', offset + DIRECTORY_ENTRY.bytes, offset + DIRECTORY_ENTRY.bytes + nameBytes);
    if (name === wantedName) {
      const start = header + LOCAL_HEADER_BYTES + zip.readUInt16LE(header + 26) + zip.readUInt16LE(header + 28);
      const data = zip.subarray(start, start + compressedBytes);
      if (method === STORED) return data;
      if (method === DEFLATED) return inflateRawSync(data);
      throw new Error(`${name}: compression method ${method} is unknown`);
    }
    offset += DIRECTORY_ENTRY.bytes + nameBytes + zip.readUInt16LE(offset + 30) + zip.readUInt16LE(offset + 32);
  }
  throw new Error(`${wantedName} is not in the archive`);
}
