import { Controller, Get, HttpCode, Inject, Param, Post, Query } from '@nestjs/common';
import { demandPermit, type Principal } from '@weir/access';
import { ErrorCode, WeirError } from '@weir/contracts';
import { Answers, Authenticated, CurrentPrincipal, noBody, parsed, Traced } from '@weir/rest';
import { z } from 'zod';
import { cid } from './app-body.js';
import { callQuality } from './call-snapshot.js';
import { Calls } from './calls.js';
import type { CallPage } from './call-store.js';

const listQuery = z.object({
  page: z.coerce.number().int().min(1).max(10_000).default(1),
  size: z.coerce.number().int().min(1).max(100).default(20),
  cid: z.coerce.number().pipe(cid).optional().describe('Only calls of this device.'),
});

const instant = z.iso.datetime().nullable();

const callJson = z.strictObject({
  id: z.string(),
  appId: z.string(),
  caller: cid,
  callee: cid.nullable(),
  startedAt: z.iso.datetime(),
  answeredAt: instant,
  establishedAt: instant,
  endedAt: z.iso.datetime(),
  /** From the callee's answer until media of both sides flow; null if they never did. */
  setUpMs: z.number().nullable(),
  cause: z.string(),
  quality: callQuality,
  isRecorded: z.boolean(),
  /** Its recordings whose files are complete. */
  clips: z.array(z.strictObject({ clipId: z.number(), cid, recordingId: z.string() })),
});
const callsAnswer = z.strictObject({ calls: z.array(callJson), total: z.number(), page: z.number(), size: z.number() });

/** What another version of the service has written in another form is left out. */
const readableQuality = callQuality.catch({});

const isoOf = (date: Date | null): string | null => date?.toISOString() ?? null;

const jsonOf = ({ tenant: _tenant, seenAt: _seenAt, ...row }: CallPage['calls'][number]): z.infer<typeof callJson> => ({
  ...row,
  caller: Number(row.caller),
  callee: row.callee === null ? null : Number(row.callee),
  quality: readableQuality.parse(row.quality),
  startedAt: row.startedAt.toISOString(),
  answeredAt: isoOf(row.answeredAt),
  establishedAt: isoOf(row.establishedAt),
  endedAt: row.endedAt.toISOString(),
  setUpMs:
    row.answeredAt === null || row.establishedAt === null
      ? null
      : row.establishedAt.getTime() - row.answeredAt.getTime(),
  clips: row.clips.map(({ number, cid: ofDevice, recordingId }) => ({
    clipId: number,
    ...{ cid: Number(ofDevice), recordingId },
  })),
});

/** The operator's REST for calls. */
@Controller('calls')
@Traced('call')
@Authenticated('header')
export class CallsController {
  constructor(@Inject(Calls) private readonly calls: Calls) {}

  /** Calls that have ended, the newest first. */
  @Get('records')
  @Answers(callsAnswer)
  async list(@CurrentPrincipal() principal: Principal, @Query() query: unknown): Promise<z.infer<typeof callsAnswer>> {
    demandPermit(principal, 'administer', principal.tenant, 'call-apps/*');
    const { page, size, cid: ofDevice } = parsed(listQuery, query);
    const asked = { page, size, ...(ofDevice !== undefined && { cid: ofDevice }) };
    const { calls, total } = await this.calls.records(principal.tenant, asked);
    return { calls: calls.map(jsonOf), total, page, size };
  }

  /** Records both sides of a call from now to its end. */
  @Post(':id/recording')
  @HttpCode(204)
  @Answers(noBody)
  async record(@CurrentPrincipal() principal: Principal, @Param('id') id: string): Promise<void> {
    demandPermit(principal, 'record', principal.tenant, `calls/${id}`);
    if (!(await this.calls.record(principal.tenant, id)))
      throw new WeirError(ErrorCode.NOT_FOUND, 'There is no such call, or it has ended');
  }
}
