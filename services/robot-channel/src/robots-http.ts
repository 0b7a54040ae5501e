import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Post, Put, Query } from '@nestjs/common';
import type { Principal } from '@weir/access';
import { Authenticated, CurrentPrincipal, parsed } from '@weir/rest';
import { OutboundGuard } from '@weir/outbound';
import { withHiddenPassword } from '@weir/protocol-rtsp';
import { Fleet, type CameraRecord, type RobotRecord } from './fleet.js';
import { Presence } from './presence.js';
import { demandAdministration } from './rights.js';
import {
  cameraChangeBody,
  demandAllowed,
  listQuery,
  newCameraBody,
  newRobotBody,
  robotChangeBody,
} from './robot-body.js';

/** Callers that may read the list needn't know the cameras' passwords. */
const cameraJson = ({ name, rtspUrl, pinned }: CameraRecord) => ({
  name,
  pinned,
  ...(rtspUrl !== undefined && { rtspUrl: withHiddenPassword(rtspUrl) }),
});

const robotJson = (robot: RobotRecord, online: boolean) => ({
  id: robot.robotId,
  online,
  cameras: robot.cameras.map(cameraJson),
  defaultCamera: robot.defaultCamera ?? null,
  createdAt: robot.createdAt,
});

/** The operator's REST interface. */
@Controller('channel/robots')
@Authenticated('header')
export class RobotsController {
  constructor(
    @Inject(Fleet) private readonly fleet: Fleet,
    @Inject(Presence) private readonly presence: Presence,
    @Inject(OutboundGuard) private readonly guard: OutboundGuard,
  ) {}

  @Get()
  async list(@CurrentPrincipal() principal: Principal, @Query() query: unknown) {
    demandAdministration(principal);
    const { limit, after } = parsed(listQuery, query);
    const robots = await this.fleet.list(principal.tenant, limit, after);
    const online = await this.presence.online(
      principal.tenant,
      robots.map(({ robotId }) => robotId),
    );
    return { robots: robots.map((robot) => robotJson(robot, online.has(robot.robotId))) };
  }

  @Post()
  async create(@CurrentPrincipal() principal: Principal, @Body() body: unknown) {
    const { id, cameras, defaultCamera } = parsed(newRobotBody, body);
    demandAdministration(principal, id);
    for (const { rtspUrl } of cameras) await demandAllowed(this.guard, rtspUrl);
    return this.#told(await this.fleet.create(principal.tenant, id, cameras, { defaultCamera }));
  }

  @Get(':id')
  async get(@CurrentPrincipal() principal: Principal, @Param('id') id: string) {
    demandAdministration(principal, id);
    return this.#told(await this.fleet.get(principal.tenant, id));
  }

  @Put(':id')
  async change(@CurrentPrincipal() principal: Principal, @Param('id') id: string, @Body() body: unknown) {
    demandAdministration(principal, id);
    return this.#told(await this.fleet.change(principal.tenant, id, parsed(robotChangeBody, body)));
  }

  /** Its socket closes and its streams end. */
  @Delete(':id')
  @HttpCode(204)
  async remove(@CurrentPrincipal() principal: Principal, @Param('id') id: string): Promise<void> {
    demandAdministration(principal, id);
    await this.fleet.remove(principal.tenant, id);
  }

  @Get(':id/cameras')
  async listCameras(@CurrentPrincipal() principal: Principal, @Param('id') id: string) {
    demandAdministration(principal, id);
    return { cameras: (await this.fleet.get(principal.tenant, id)).cameras.map(cameraJson) };
  }

  @Post(':id/cameras')
  async addCamera(@CurrentPrincipal() principal: Principal, @Param('id') id: string, @Body() body: unknown) {
    demandAdministration(principal, id);
    const { name, ...camera } = parsed(newCameraBody, body);
    await demandAllowed(this.guard, camera.rtspUrl);
    return cameraJson(await this.fleet.addCamera(principal.tenant, id, name, camera));
  }

  @Put(':id/cameras/:camera')
  async changeCamera(
    @CurrentPrincipal() principal: Principal,
    @Param('id') id: string,
    @Param('camera') camera: string,
    @Body() body: unknown,
  ) {
    demandAdministration(principal, id);
    const change = parsed(cameraChangeBody, body);
    await demandAllowed(this.guard, change.rtspUrl);
    return cameraJson(await this.fleet.changeCamera(principal.tenant, id, camera, change));
  }

  @Delete(':id/cameras/:camera')
  @HttpCode(204)
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
    return robotJson(robot, online.has(robot.robotId));
  }
}
