import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Post, Put, Query } from '@nestjs/common';
import type { Principal } from '@weir/access';
import { Answers, Authenticated, CurrentPrincipal, noBody, parsed, Traced } from '@weir/rest';
import { OutboundGuard } from '@weir/outbound';
import { withHiddenPassword } from '@weir/protocol-rtsp';
import { Fleet, type CameraRecord, type RobotRecord } from './fleet.js';
import { Presence } from './presence.js';
import { demandAdministration } from './rights.js';
import {
  cameraChangeBody,
  cameraJson,
  camerasAnswer,
  demandAllowed,
  listQuery,
  newCameraBody,
  newRobotBody,
  robotChangeBody,
  robotJson,
  robotsAnswer,
  type CameraJson,
  type RobotJson,
} from './robot-body.js';

/** Callers that may read the list needn't know the cameras' passwords. */
const cameraJsonOf = ({ name, rtspUrl, pinned }: CameraRecord): CameraJson => ({
  name,
  pinned,
  ...(rtspUrl !== undefined && { rtspUrl: withHiddenPassword(rtspUrl) }),
});

const robotJsonOf = (robot: RobotRecord, online: boolean): RobotJson => ({
  id: robot.robotId,
  online,
  cameras: robot.cameras.map(cameraJsonOf),
  defaultCamera: robot.defaultCamera ?? null,
  createdAt: robot.createdAt.toISOString(),
});

/** The operator's REST interface. */
@Controller('channel/robots')
@Traced('robot')
@Authenticated('header')
export class RobotsController {
  constructor(
    @Inject(Fleet) private readonly fleet: Fleet,
    @Inject(Presence) private readonly presence: Presence,
    @Inject(OutboundGuard) private readonly guard: OutboundGuard,
  ) {}

  @Get()
  @Answers(robotsAnswer)
  async list(@CurrentPrincipal() principal: Principal, @Query() query: unknown) {
    demandAdministration(principal);
    const { limit, after } = parsed(listQuery, query);
    const robots = await this.fleet.list(principal.tenant, limit, after);
    const online = await this.presence.online(
      principal.tenant,
      robots.map(({ robotId }) => robotId),
    );
    return { robots: robots.map((robot) => robotJsonOf(robot, online.has(robot.robotId))) };
  }

  @Post()
  @Answers(robotJson)
  async create(@CurrentPrincipal() principal: Principal, @Body() body: unknown) {
    const { id, cameras, defaultCamera } = parsed(newRobotBody, body);
    demandAdministration(principal, id);
    for (const { rtspUrl } of cameras) await demandAllowed(this.guard, rtspUrl);
    return this.#told(await this.fleet.create(principal.tenant, id, cameras, { defaultCamera }));
  }

  @Get(':id')
  @Answers(robotJson)
  async get(@CurrentPrincipal() principal: Principal, @Param('id') id: string) {
    demandAdministration(principal, id);
    return this.#told(await this.fleet.get(principal.tenant, id));
  }

  @Put(':id')
  @Answers(robotJson)
  async change(@CurrentPrincipal() principal: Principal, @Param('id') id: string, @Body() body: unknown) {
    demandAdministration(principal, id);
    return this.#told(await this.fleet.change(principal.tenant, id, parsed(robotChangeBody, body)));
  }

  /** Its socket closes and its streams end. */
  @Delete(':id')
  @HttpCode(204)
  @Answers(noBody)
  async remove(@CurrentPrincipal() principal: Principal, @Param('id') id: string): Promise<void> {
    demandAdministration(principal, id);
    await this.fleet.remove(principal.tenant, id);
  }

  @Get(':id/cameras')
  @Answers(camerasAnswer)
  async listCameras(@CurrentPrincipal() principal: Principal, @Param('id') id: string) {
    demandAdministration(principal, id);
    return { cameras: (await this.fleet.get(principal.tenant, id)).cameras.map(cameraJsonOf) };
  }

  @Post(':id/cameras')
  @Answers(cameraJson)
  async addCamera(@CurrentPrincipal() principal: Principal, @Param('id') id: string, @Body() body: unknown) {
    demandAdministration(principal, id);
    const { name, ...camera } = parsed(newCameraBody, body);
    await demandAllowed(this.guard, camera.rtspUrl);
    return cameraJsonOf(await this.fleet.addCamera(principal.tenant, id, name, camera));
  }

  @Put(':id/cameras/:camera')
  @Answers(cameraJson)
  async changeCamera(
    @CurrentPrincipal() principal: Principal,
    @Param('id') id: string,
    @Param('camera') camera: string,
    @Body() body: unknown,
  ) {
    demandAdministration(principal, id);
    const change = parsed(cameraChangeBody, body);
    await demandAllowed(this.guard, change.rtspUrl);
    return cameraJsonOf(await this.fleet.changeCamera(principal.tenant, id, camera, change));
  }

  @Delete(':id/cameras/:camera')
  @HttpCode(204)
  @Answers(noBody)
  async removeCamera(
    @CurrentPrincipal() principal: Principal,
    @Param('id') id: string,
    @Param('camera') camera: string,
  ): Promise<void> {
    demandAdministration(principal, id);
    await this.fleet.removeCamera(principal.tenant, id, camera);
  }

  async #told(robot: RobotRecord) {
    const online = await this.presence.online(robot.tenant, [robot.robotId]);
    return robotJsonOf(robot, online.has(robot.robotId));
  }
}
