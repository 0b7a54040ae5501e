import { z } from 'zod';
import { parseAllowList } from './allow-list.js';

/** The settings of every service that connects to addresses which users give. */
export const outboundSettings = {
  WEIR_OUTBOUND_ALLOW: z
    .string()
    .default('')
    .transform((text, context) => {
      try {
        return parseAllowList(text);
      } catch (error) {
        context.addIssue(error instanceof Error ? error.message : String(error));
        return z.NEVER;
      }
    })
    .describe(
      'Addresses, networks and hosts that user-given addresses may name although they are not on the public internet, separated by commas.',
    ),
} as const;
