import { create, toBinary, type DescMessage, type MessageInitShape } from '@bufbuild/protobuf';
// eslint-disable-next-line @nx/enforce-module-boundaries -- what is measured is the library itself
import {
  CloseSessionReplySchema,
  CloseSessionRequestSchema,
  PlayReplySchema,
  PlayRequestSchema,
} from '@weir/contracts';

/** As long as Chromium's offer and weir's answer to it. */
const [offerSdp, answerSdp] = ['o'.repeat(6_000), 'a'.repeat(2_500)];
const streamName = 'bench';
const sessionId = '01234567-89ab-cdef-0123-456789abcdef.1';

export const playRequest = (nodeId: string): MessageInitShape<typeof PlayRequestSchema> => ({
  nodeId,
  tenant: 'demo',
  streamName,
  sessionId,
  ownerId: 'wcs-signalling-0123456789',
  offerSdp,
  statsIntervalMs: 1_000,
});
export const playReply: MessageInitShape<typeof PlayReplySchema> = {
  answerSdp,
  stream: { streamName, nodeId: 'media' },
};

export const closeRequest = (nodeId: string): MessageInitShape<typeof CloseSessionRequestSchema> => ({
  nodeId,
  sessionId,
});
export const closeReply: MessageInitShape<typeof CloseSessionReplySchema> = {};

/** The same messages as bytes, for the raw client. */
export const asBytes = <Schema extends DescMessage>(schema: Schema, init: MessageInitShape<Schema>): Uint8Array =>
  toBinary(schema, create(schema, init));

export { CloseSessionReplySchema, CloseSessionRequestSchema, PlayReplySchema, PlayRequestSchema };

/** Subjects of the raw client. */
export const RAW_SUBJECTS = { close: 'bench.close', play: 'bench.play' } as const;
