import { SNAPSHOT } from '@weir/protocol-topvdn';
import type { PrismaClient } from './generated/client.js';
import type { CallBrokerMetrics } from './metrics.js';

export interface Cover {
  readonly contentType: ImageType;
  readonly image: Uint8Array<ArrayBuffer>;
  readonly takenAtMs: number;
}

export const IMAGE_TYPES = ['image/jpeg', 'image/png', 'image/webp', 'image/gif'] as const;
export type ImageType = (typeof IMAGE_TYPES)[number];

const isImageType = (text: string): text is ImageType => IMAGE_TYPES.some((type) => type === text);

/** What the first bytes say, whatever the sender says; undefined for anything but these kinds of pictures. */
export const imageTypeOf = (bytes: Uint8Array): ImageType | undefined => {
  const starts = (...wanted: readonly number[]) => wanted.every((byte, index) => bytes[index] === byte);
  const text = (from: number, to: number) => Buffer.from(bytes.subarray(from, to)).toString('latin1');
  if (starts(0xff, 0xd8, 0xff)) return 'image/jpeg';
  if (starts(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)) return 'image/png';
  if (text(0, 4) === 'RIFF' && text(8, 12) === 'WEBP') return 'image/webp';
  return /^GIF8[79]a$/.test(text(0, 6)) ? 'image/gif' : undefined;
};

/** A live picture that is so new is shown again. */
const FRESH_MS = 5_000;

export interface CoversPorts {
  readonly database: Pick<PrismaClient, 'cover' | '$executeRaw'>;
  /** The picture that the device sends at this moment; undefined if it sends none. */
  readonly livePicture: (cid: number) => Promise<{ contentType: ImageType; image: Buffer } | undefined>;
  readonly metrics: Pick<CallBrokerMetrics, 'snapshot'>;
}

/** The pictures that show devices: the live one, or the last. */
export class Covers {
  /** What is being taken, so that several viewers cost one picture. */
  readonly #taking = new Map<number, Promise<Cover | undefined>>();

  constructor(private readonly ports: CoversPorts) {}

  async of(cid: number): Promise<Cover | undefined> {
    const taking = this.#taking.get(cid) ?? this.#take(cid).finally(() => this.#taking.delete(cid));
    this.#taking.set(cid, taking);
    const cover = await taking;
    this.ports.metrics.snapshot(cover === undefined ? 'missing' : 'shown');
    return cover;
  }

  /** @returns false if the device has sent a picture less than five minutes ago */
  async upload(cid: number, contentType: ImageType, image: Uint8Array): Promise<boolean> {
    const count = await this.ports.database.$executeRaw`
      INSERT INTO "Cover" (cid, "contentType", image, "takenAt", "uploadedAt")
        VALUES (${BigInt(cid)}, ${contentType}, ${Buffer.from(image)}, now(), now())
        ON CONFLICT (cid) DO UPDATE SET "contentType" = excluded."contentType", image = excluded.image,
          "takenAt" = now(), "uploadedAt" = now()
        WHERE "Cover"."uploadedAt" IS NULL
          OR "Cover"."uploadedAt" <= now() - ${SNAPSHOT.pauseMs}::float8 * interval '1 millisecond'`;
    this.ports.metrics.snapshot(count > 0 ? 'uploaded' : 'refused');
    return count > 0;
  }

  async #take(cid: number): Promise<Cover | undefined> {
    const { database, livePicture } = this.ports;
    const row = await database.cover.findUnique({ where: { cid: BigInt(cid) } });
    const last: Cover | undefined =
      row !== null && isImageType(row.contentType)
        ? { contentType: row.contentType, image: row.image, takenAtMs: row.takenAt.getTime() }
        : undefined;
    if (last !== undefined && Date.now() - last.takenAtMs < FRESH_MS) return last;
    const live = await livePicture(cid);
    if (live === undefined) return last;
    const takenAt = new Date();
    const taken = { contentType: live.contentType, image: new Uint8Array(live.image), takenAt };
    await database.cover.upsert({ where: { cid: BigInt(cid) }, create: { cid: BigInt(cid), ...taken }, update: taken });
    return { contentType: taken.contentType, image: taken.image, takenAtMs: takenAt.getTime() };
  }
}
