import { z } from 'zod';
import { parseAllowList } from './allow-list.js';

/** The settings of every service that connects to addresses given by users. */
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
      'Addresses, networks and hosts outside the public internet that addresses given by users may name, separated by commas.',
    ),
} as const;
