import { Controller, Get, HttpCode, Inject, Param, Post } from '@nestjs/common';
import type { Principal } from '@weir/access';
import type { LoggedMessage } from '@weir/outbox';
import { Answers, Authenticated, CurrentPrincipal } from '@weir/rest';
import { z } from 'zod';
import { DeliveryLog, type DeliverySubject } from './delivery-log.js';
import { WEBHOOK_QUEUE } from './session-store.js';

const RESULTS = { delivered: 'delivered', retry: 'failed', dead: 'failed', released: 'broken-off' } as const;

export const deliveriesAnswer = z.object({
  deliveries: z.array(
    z.object({
      id: z.string().describe('Of a webhook, also its header webhook-id.'),
      kind: z.enum(['upload', 'webhook']),
      destination: z.string().describe('The host, or the kind of storage.'),
      state: z.enum(['pending', 'delivering', 'delivered', 'failed']),
      createdAt: z.iso.datetime(),
      endedAt: z.iso.datetime().nullable().describe('When it was delivered, or given up.'),
      nextAttemptAt: z.iso.datetime().nullable(),
      giveUpAt: z.iso.datetime().nullable().describe('When it is tried for the last time.'),
      attempts: z
        .array(
          z.object({
            at: z.iso.datetime(),
            durationMs: z.number().int().nullable().describe('Null while it goes on, and if its instance died.'),
            result: z.enum(['delivered', 'failed', 'broken-off']).nullable(),
            status: z.number().int().nullable().describe('The HTTP status of the destination.'),
            error: z.string().nullable(),
          }),
        )
        .describe('The last 200, oldest first.'),
    }),
  ),
});
export type DeliveriesAnswer = z.infer<typeof deliveriesAnswer>;

export const replayAnswer = z.object({
  outcome: z.enum(['replayed', 'hastened', 'in-progress']).describe('Hastened: it was waiting for its next attempt.'),
});
export type ReplayAnswer = z.infer<typeof replayAnswer>;

/** The deliveries of recordings and of sessions. */
@Controller('recordings')
@Authenticated('header')
export class DeliveryLogController {
  constructor(@Inject(DeliveryLog) private readonly log: DeliveryLog) {}

  @Get(':id/deliveries')
  @Answers(deliveriesAnswer)
  async ofRecording(@CurrentPrincipal() principal: Principal, @Param('id') id: string): Promise<DeliveriesAnswer> {
    return this.#answer(await this.log.recording(principal, id));
  }

  @Post(':id/deliveries/:delivery/replay')
  @HttpCode(202)
  @Answers(replayAnswer)
  async replayOfRecording(
    @CurrentPrincipal() principal: Principal,
    @Param('id') id: string,
    @Param('delivery') delivery: string,
  ): Promise<ReplayAnswer> {
    return this.#replay(await this.log.recording(principal, id), delivery);
  }

  @Get('sessions/:session/deliveries')
  @Answers(deliveriesAnswer)
  async ofSession(
    @CurrentPrincipal() principal: Principal,
    @Param('session') session: string,
  ): Promise<DeliveriesAnswer> {
    return this.#answer(await this.log.session(principal, session));
  }

  @Post('sessions/:session/deliveries/:delivery/replay')
  @HttpCode(202)
  @Answers(replayAnswer)
  async replayOfSession(
    @CurrentPrincipal() principal: Principal,
    @Param('session') session: string,
    @Param('delivery') delivery: string,
  ): Promise<ReplayAnswer> {
    return this.#replay(await this.log.session(principal, session), delivery);
  }

  async #answer(subject: DeliverySubject): Promise<DeliveriesAnswer> {
    return { deliveries: (await this.log.entries(subject)).map(described) };
  }

  async #replay(subject: DeliverySubject, delivery: string): Promise<ReplayAnswer> {
    const replayed = await this.log.replay(subject, delivery);
    return { outcome: replayed === 'in progress' ? 'in-progress' : replayed };
  }
}

const described = (message: LoggedMessage): DeliveriesAnswer['deliveries'][number] => {
  const { state, inProgress, dueAt, giveUpAt, endedAt } = message;
  const isWaiting = state === 'waiting';
  return {
    ...{ id: message.id, destination: message.destination, createdAt: message.createdAt.toISOString() },
    kind: message.queue === WEBHOOK_QUEUE ? 'webhook' : 'upload',
    state: isWaiting ? (inProgress ? 'delivering' : 'pending') : state === 'dead' ? 'failed' : 'delivered',
    endedAt: endedAt?.toISOString() ?? null,
    nextAttemptAt: isWaiting && !inProgress ? dueAt.toISOString() : null,
    giveUpAt: isWaiting ? giveUpAt.toISOString() : null,
    attempts: message.log.map(({ startedAt, durationMs, result, status, words }) => ({
      ...{ at: startedAt.toISOString(), durationMs: durationMs ?? null },
      result: result === undefined ? null : RESULTS[result],
      ...{ status: status ?? null, error: words ?? null },
    })),
  };
};
