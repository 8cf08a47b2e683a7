import { Controller, Get, Param, Patch, Post, Put } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';

import { Scopes } from '#platform/http/access.decorators.js';
import { dryRunSchema } from '#platform/http/answer-schemas.js';
import { CommandRunner } from '#platform/http/command-runner.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { entityTag, tagged } from '#platform/http/entity-tag.js';
import { JsonBody } from '#platform/http/json-body.js';
import type { Page } from '#platform/http/page.js';
import { QueryRunner } from '#platform/http/query-runner.js';
import { Answer, Asked } from '#platform/http/request-context.js';
import { dryRunAnswer, subjectState, writeHeaders } from '#platform/http/write-answer.js';
import { ConfigurationWrite, type WriteRequest } from '#platform/http/write-request.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Json } from '#platform/kernel/json.js';

import { ConfigureGateway, type SettingsChange } from './configure-gateway.js';
import { CreateGateway } from './create-gateway.js';
import { type GatewaySettings, settingsOf } from './gateway.js';
import { gatewaySchema, gatewaySummarySchema, settingsSchema } from './gateway-answers.js';
import {
  GatewayCreateInput,
  GatewaySettingsInput,
  GatewaySettingsPatch,
  parseGatewayCreate,
  parseSettings,
  parseSettingsPatch,
} from './gateway-settings.js';
import { type GatewaySummary, ListGateways, ReadGateway } from './list-gateways.js';

const tag = 'Gateways';
const written = { 200: z.union([settingsSchema, dryRunSchema]) };

/** /v1/gateways: the gateways and their settings. */
@Controller('v1/gateways')
export class GatewayController {
  constructor(
    private readonly commands: CommandRunner,
    private readonly queries: QueryRunner,
  ) {}

  @Get()
  @Scopes('read')
  @Describe({ tag, summary: 'List gateways', answers: { 200: z.object({ items: z.array(gatewaySummarySchema), next: z.null() }) } })
  async list(): Promise<Page<GatewaySummary>> {
    return { items: await this.queries.run(new ListGateways()), next: null };
  }

  @Post()
  @Scopes('admin')
  @Describe({
    tag,
    summary: 'Create a gateway',
    write: 'configuration',
    body: GatewayCreateInput,
    answers: { 200: dryRunSchema, 201: gatewaySchema },
  })
  async create(
    @JsonBody() body: Json,
    @ConfigurationWrite() write: WriteRequest,
    @Answer() reply: FastifyReply,
  ): Promise<object | undefined> {
    const { name, settings } = parseGatewayCreate(body);
    const request = await this.commands.requestFor(write, `gateway/${name}`, 'gateway');
    const outcome = await this.commands.run(new CreateGateway(name, settings, request), write.context);
    if (outcome.dryRun) return dryRunAnswer(reply, outcome);
    writeHeaders(reply, outcome, 'gateway');
    reply.status(201).header('Location', `/v1/gateways/${name}`);
    return this.view(name);
  }

  @Get(':gateway')
  @Scopes('read')
  @Describe({ tag, summary: 'Read a gateway', answers: { 200: gatewaySchema, 304: 'Unchanged.' } })
  async read(
    @Param('gateway') gateway: string,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<object | undefined> {
    const view = await this.view(gateway);
    reply.header('Chancery-Version', String(view.version));
    return tagged(asked, reply, entityTag(view.version), view);
  }

  @Get(':gateway/settings')
  @Scopes('read')
  @Describe({ tag, summary: 'Read the settings', answers: { 200: settingsSchema, 304: 'Unchanged.' } })
  async settings(
    @Param('gateway') gateway: string,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<GatewaySettings | undefined> {
    const found = await this.queries.run(new ReadGateway(gateway));
    return tagged(asked, reply, entityTag(found.version), found.settings);
  }

  @Put(':gateway/settings')
  @Scopes('admin')
  @Describe({
    tag,
    summary: 'Replace the settings; what is left out has its default',
    write: 'configuration',
    body: GatewaySettingsInput,
    answers: written,
  })
  replace(
    @Param('gateway') gateway: string,
    @JsonBody() body: Json,
    @ConfigurationWrite() write: WriteRequest,
    @Answer() reply: FastifyReply,
  ): Promise<object> {
    return this.configure(gateway, { mode: 'replace', input: parseSettings(body) }, write, reply);
  }

  @Patch(':gateway/settings')
  @Scopes('admin')
  @Describe({
    tag,
    summary: 'Change the settings by a merge patch (RFC 7396)',
    write: 'configuration',
    body: GatewaySettingsPatch,
    answers: written,
  })
  merge(
    @Param('gateway') gateway: string,
    @JsonBody() body: Json,
    @ConfigurationWrite() write: WriteRequest,
    @Answer() reply: FastifyReply,
  ): Promise<object> {
    return this.configure(gateway, { mode: 'merge', patch: parseSettingsPatch(body) }, write, reply);
  }

  private async configure(gateway: string, change: SettingsChange, write: WriteRequest, reply: FastifyReply): Promise<object> {
    const request = await this.commands.requestFor(write, `gateway/${gateway}`, 'gateway');
    const outcome = await this.commands.run(new ConfigureGateway(gateway, change, request), write.context);
    if (outcome.dryRun) return dryRunAnswer(reply, outcome);
    writeHeaders(reply, outcome, 'gateway');
    return settingsOf(subjectState(outcome, 'gateway') ?? {});
  }

  private async view(name: string): Promise<GatewaySummary & { settings: GatewaySettings; settingsVersion: number }> {
    const [all, { settings, version: settingsVersion }] = await Promise.all([
      this.queries.run(new ListGateways()),
      this.queries.run(new ReadGateway(name)),
    ]);
    const summary = all.find((gateway) => gateway.name === name);
    if (summary === undefined) throw new DomainError('not_found', 'gateway_not_found', 'There is no such gateway.');
    return { ...summary, settings, settingsVersion };
  }
}
