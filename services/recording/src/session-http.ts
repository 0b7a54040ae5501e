import { Body, Controller, Get, Inject, Param, Post, Query, Req } from '@nestjs/common';
import type { RecordingAccess, RecordingHolder } from '@weir/access';
import { ErrorCode, WeirError } from '@weir/contracts';
import type { IceServer } from '@weir/platform';
import {
  newRecordingSessionAnswer,
  newSessionAnswer,
  newSessionBody,
  newSupervisorSessionAnswer,
  newSupervisorSessionBody,
  recordingStatsAnswer,
  sessionStatsAnswer,
  statsQuery,
  type NewRecordingSession,
  type NewSession,
  type NewSupervisorSession,
  type RecordingStatsPage,
  type SessionStatsPage,
} from '@weir/protocol-eyeson';
import { Answers, parsed, publicOrigin, Traced } from '@weir/rest';
import type { FastifyRequest } from 'fastify';
import { CLIENT_PATH, FIRST_GENERATION_PATH, SUPERVISOR_PATH } from './rtm-server.js';
import type { RecordingStats } from './recording-stats.js';
import type { SessionNames } from './session-names.js';
import type { SessionSockets } from './session-sockets.js';
import type { Session, SessionStore } from './session-store.js';

export const SESSION_EDGE = Symbol('parts of the session edge');

/** What the REST of sessions needs. */
export interface SessionEdge {
  readonly access: Pick<RecordingAccess, 'authenticate'>;
  readonly store: Pick<SessionStore, 'create' | 'createSupervisor' | 'liveOf' | 'page'>;
  readonly stats: RecordingStats;
  readonly names: Pick<SessionNames, 'reserve'>;
  readonly sockets: Pick<SessionSockets, 'makeWay'>;
  readonly iceServersFor: (id: string) => readonly IceServer[];
  /** The URL at which clients reach the platform; if undefined, that of the request. */
  readonly publicUrl: string | undefined;
}

type HolderOf<Tag extends RecordingHolder['tag']> = Extract<RecordingHolder, { tag: Tag }>;

/** The REST of the recording protocol. */
@Controller('api')
@Traced('eyeson')
export class SessionController {
  constructor(@Inject(SESSION_EDGE) private readonly edge: SessionEdge) {}

  @Post('v2/session')
  @Answers(newSessionAnswer)
  async session(@Req() request: FastifyRequest, @Body() body: unknown): Promise<NewSession> {
    const { id } = await this.#newClientSession(request, body, 'CLIENT');
    return { session_id: id, ice_credentials: this.#ice(id), ws_endpoint: this.#socketUrl(request, CLIENT_PATH) };
  }

  @Post('session')
  @Answers(newRecordingSessionAnswer)
  async firstGeneration(@Req() request: FastifyRequest, @Body() body: unknown): Promise<NewRecordingSession> {
    const { id } = await this.#newClientSession(request, body, 'FIRST_GENERATION');
    const ws_endpoint = this.#socketUrl(request, FIRST_GENERATION_PATH);
    return { recording_id: id, ice_credentials: this.#ice(id), ws_endpoint };
  }

  @Post('v2/supervisor_session')
  @Answers(newSupervisorSessionAnswer)
  async supervisorSession(@Req() request: FastifyRequest, @Body() body: unknown): Promise<NewSupervisorSession> {
    const holder = await this.#holder(request, 'supervisor');
    const asked = parsed(newSupervisorSessionBody, body);
    demandClient(holder, asked.client_id);
    if (asked.client_id_to_monitor !== holder.monitor)
      throw new WeirError(ErrorCode.FORBIDDEN, 'client_id_to_monitor is not the one of the token');
    const made = await this.edge.store.createSupervisor(holder, asked.session_id_to_monitor ?? undefined);
    const monitored = made.monitoredId ?? '';
    return {
      session_id: made.id,
      session_id_to_monitor: monitored,
      ice_credentials: this.#ice(made.id),
      ws_endpoint: this.#socketUrl(request, `${SUPERVISOR_PATH}/${monitored}`),
    };
  }

  @Get('v2/stats/:apiId/sessions')
  @Answers(sessionStatsAnswer)
  async sessions(
    @Req() request: FastifyRequest,
    @Param('apiId') apiId: string,
    @Query() query: unknown,
  ): Promise<SessionStatsPage> {
    const { tenant } = await this.#statsHolder(request, apiId);
    const { next_token: nextToken, ...filter } = parsed(statsQuery, query);
    const page = await this.edge.store.page({ tenant, apiId, nextToken, ...filter });
    return {
      api_id: apiId,
      next_token: page.nextToken ?? null,
      sessions: page.sessions.map(({ id, clientId, state, createdAt, stoppedAt }) => ({
        ...{ api_id: apiId, session_id: id, client_id: clientId, state },
        created_at: createdAt.toISOString(),
        stopped_at: stoppedAt?.toISOString() ?? null,
      })),
    };
  }

  @Get('v2/stats/:apiId/recordings')
  @Answers(recordingStatsAnswer)
  async recordings(
    @Req() request: FastifyRequest,
    @Param('apiId') apiId: string,
    @Query() query: unknown,
  ): Promise<RecordingStatsPage> {
    const { tenant } = await this.#statsHolder(request, apiId);
    const { next_token: nextToken, ...filter } = parsed(statsQuery, query);
    return this.edge.stats.page({ tenant, apiId, nextToken, ...filter });
  }

  async #newClientSession(
    request: FastifyRequest,
    body: unknown,
    kind: 'CLIENT' | 'FIRST_GENERATION',
  ): Promise<Session> {
    const { store, sockets, names } = this.edge;
    const holder = await this.#holder(request, 'client');
    demandClient(holder, parsed(newSessionBody, body).client_id);
    const refusal = await sockets.makeWay(holder);
    if (refusal !== undefined || (await store.liveOf(holder)) !== undefined)
      throw new WeirError(ErrorCode.ALREADY_EXISTS, 'This client has a live session: end it first');
    await names.reserve(holder.tenant);
    return store.create(holder, kind);
  }

  async #holder<Tag extends RecordingHolder['tag']>(request: FastifyRequest, tag: Tag): Promise<HolderOf<Tag>> {
    const token = /^Bearer +(\S+) *$/i.exec(request.headers.authorization ?? '')?.[1];
    if (token === undefined)
      throw new WeirError(
        ErrorCode.UNAUTHENTICATED,
        'A token is needed; send the header Authorization: Bearer <auth_token>',
      );
    const holder = await this.edge.access.authenticate(token);
    if (!isA(tag, holder))
      throw new WeirError(ErrorCode.FORBIDDEN, `The token is for ${holder.tag}; here one for ${tag} is needed`);
    return holder;
  }

  async #statsHolder(request: FastifyRequest, apiId: string): Promise<HolderOf<'stats'>> {
    const holder = await this.#holder(request, 'stats');
    if (holder.apiId !== apiId) throw new WeirError(ErrorCode.FORBIDDEN, 'The token is for another api_id');
    return holder;
  }

  #ice(sessionId: string) {
    return { iceServers: this.edge.iceServersFor(sessionId) };
  }

  #socketUrl(request: FastifyRequest, path: string): string {
    return `${publicOrigin(this.edge.publicUrl, request).replace(/^http/, 'ws')}${path}`;
  }
}

const isA = <Tag extends RecordingHolder['tag']>(tag: Tag, holder: RecordingHolder): holder is HolderOf<Tag> =>
  holder.tag === tag;

const demandClient = ({ clientId }: { readonly clientId: string }, asked: string): void => {
  if (asked !== clientId) throw new WeirError(ErrorCode.FORBIDDEN, 'client_id is not the one of the token');
};
