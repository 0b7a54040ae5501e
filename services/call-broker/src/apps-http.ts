import { randomInt } from 'node:crypto';
import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Post, Put, Query } from '@nestjs/common';
import { demandPermit, permits, type Principal } from '@weir/access';
import { ErrorCode, WeirError } from '@weir/contracts';
import { Answers, Authenticated, CurrentPrincipal, noBody, parsed, Traced } from '@weir/rest';
import type { z } from 'zod';
import { appChangeBody, appJson, appsAnswer, keyedAppJson, listQuery, newAppBody, type AppJson } from './app-body.js';
import { AppStore, type App } from './app-store.js';

const ID_LENGTH = 4;
const KEY_LENGTH = 32;
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const ID_ATTEMPTS = 10;

const randomText = (length: number): string =>
  Array.from({ length }, () => ALPHABET[randomInt(ALPHABET.length)]).join('');

const appJsonOf = ({ id, ranges, webhook, stateWebhook, wakeHook, createdAt }: App): AppJson => ({
  ...{ id, ranges, webhook, stateWebhook, wakeHook },
  createdAt: createdAt.toISOString(),
});

/** The operator's REST for apps. The grant names an app as `call-apps/<id>`. */
@Controller('calls/apps')
@Traced('call app')
@Authenticated('header')
export class AppsController {
  constructor(@Inject(AppStore) private readonly apps: AppStore) {}

  @Get()
  @Answers(appsAnswer)
  async list(@CurrentPrincipal() principal: Principal, @Query() query: unknown): Promise<z.infer<typeof appsAnswer>> {
    demandAdministration(principal);
    const { limit, after } = parsed(listQuery, query);
    const apps = await this.apps.list(principal.tenant, limit + 1, after);
    const page = apps.slice(0, limit);
    return { apps: page.map(appJsonOf), next: apps.length > limit ? (page.at(-1)?.id ?? null) : null };
  }

  @Post()
  @Answers(keyedAppJson)
  async create(@CurrentPrincipal() principal: Principal, @Body() body: unknown): Promise<z.infer<typeof keyedAppJson>> {
    demandAdministration(principal);
    const { id, key = randomText(KEY_LENGTH), ranges } = parsed(newAppBody, body);
    const app = await this.apps.create({ id: id ?? (await this.#freeId()), key, tenant: principal.tenant, ranges });
    return { ...appJsonOf(app), key };
  }

  @Get(':id')
  @Answers(appJson)
  async one(@CurrentPrincipal() principal: Principal, @Param('id') id: string): Promise<AppJson> {
    return appJsonOf(await this.#permitted(principal, id));
  }

  /** Ranges that are named replace the earlier ones. */
  @Put(':id')
  @Answers(appJson)
  async change(
    @CurrentPrincipal() principal: Principal,
    @Param('id') id: string,
    @Body() body: unknown,
  ): Promise<AppJson> {
    const app = await this.#permitted(principal, id);
    return appJsonOf((await this.apps.change(app.id, parsed(appChangeBody, body))) ?? noApp());
  }

  /** A new key; every token that was made with the earlier one ends. */
  @Post(':id/key')
  @HttpCode(200)
  @Answers(keyedAppJson)
  async newKey(
    @CurrentPrincipal() principal: Principal,
    @Param('id') id: string,
  ): Promise<z.infer<typeof keyedAppJson>> {
    const app = await this.#permitted(principal, id);
    const key = randomText(KEY_LENGTH);
    return { ...appJsonOf((await this.apps.change(app.id, { key })) ?? noApp()), key };
  }

  @Delete(':id')
  @HttpCode(204)
  @Answers(noBody)
  async remove(@CurrentPrincipal() principal: Principal, @Param('id') id: string): Promise<void> {
    await this.apps.remove((await this.#permitted(principal, id)).id);
  }

  /** The app, if the principal may administer it; otherwise it seems not to exist. */
  async #permitted(principal: Principal, id: string): Promise<App> {
    const app = await this.apps.find(id);
    if (app === undefined || !permits(principal, 'administer', app.tenant, objectOf(id))) return noApp();
    return app;
  }

  async #freeId(): Promise<string> {
    for (let attempt = 0; attempt < ID_ATTEMPTS; attempt++) {
      const id = randomText(ID_LENGTH);
      if ((await this.apps.find(id)) === undefined) return id;
    }
    throw new WeirError(ErrorCode.UNAVAILABLE, 'No free app id was found; try again, or name one');
  }
}

const objectOf = (id: string): string => `call-apps/${id}`;

const demandAdministration = (principal: Principal): void =>
  demandPermit(principal, 'administer', principal.tenant, objectOf('*'));

const noApp = (): never => {
  throw new WeirError(ErrorCode.NOT_FOUND, 'There is no such app');
};
