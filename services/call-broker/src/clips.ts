import type { Bus } from '@weir/bus';
import { StreamRecordingOwner } from '@weir/contracts';
import { z } from 'zod';
import type { AppStore } from './app-store.js';
import type { AppWebhooks } from './app-webhooks.js';
import type { PrismaClient } from './generated/client.js';

export interface ClipsPorts {
  readonly bus: Pick<Bus, 'serve'>;
  readonly database: Pick<PrismaClient, 'clip'>;
  readonly apps: Pick<AppStore, 'ownerOf'>;
  readonly webhooks: Pick<AppWebhooks, 'recordClip'>;
}

/** The labels with which a call starts its recordings. */
const clipLabels = z.object({ callId: z.string(), cid: z.coerce.number() });

/** The recordings of calls are clips of their devices: each gets a number, which the device's app is told. */
export const serveClips = ({ bus, database, apps, webhooks }: ClipsPorts): { close(): Promise<void> } =>
  bus.serve(StreamRecordingOwner.method.fileReady, async ({ tenant, recordingId, labels }) => {
    const { callId, cid } = clipLabels.parse(labels);
    const create = { recordingId, callId, cid: BigInt(cid) };
    const { number } = await database.clip.upsert({ where: { recordingId }, create, update: {} });
    const app = await apps.ownerOf(cid);
    // The device may belong to somebody else by now.
    if (app?.tenant === tenant) await webhooks.recordClip(app, { device: cid, clip_id: number });
    return {};
  });
