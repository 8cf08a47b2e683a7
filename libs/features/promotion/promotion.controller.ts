import { Controller, Delete, Get, HttpCode, Param, Post } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';

import { Scopes } from '#platform/http/access.decorators.js';
import { dryRunSchema } from '#platform/http/answer-schemas.js';
import { CommandRunner } from '#platform/http/command-runner.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { JsonBody } from '#platform/http/json-body.js';
import { QueryRunner } from '#platform/http/query-runner.js';
import { Answer } from '#platform/http/request-context.js';
import { dryRunAnswer } from '#platform/http/write-answer.js';
import { Write, type WriteRequest } from '#platform/http/write-request.js';
import type { Json } from '#platform/kernel/json.js';

import { rolloutSchema } from './promotion-answers.js';
import {
  ConfirmPushBody,
  PinBody,
  PromoteBody,
  parseConfirmPush,
  parsePin,
  parsePromote,
  parseReason,
  ReasonBody,
} from './promotion-input.js';
import { ReadRollout, type RolloutView } from './read-rollout.js';
import { type RolloutOrder, SwitchRollout } from './switch-rollout.js';

const tag = 'Rollout';
const answers = { 200: z.union([rolloutSchema, dryRunSchema]) };

/** /v1/gateways/{gateway}/rollout: which version comes to which target, and the switches of that. Each answers how it stands then. */
@Controller('v1/gateways/:gateway/rollout')
export class PromotionController {
  constructor(
    private readonly commands: CommandRunner,
    private readonly queries: QueryRunner,
  ) {}

  @Get()
  @Scopes('read')
  @Describe({
    tag,
    summary: 'Read how versions come to the targets: the wave, freeze, pins and held push',
    answers: { 200: rolloutSchema },
  })
  read(@Param('gateway') gateway: string): Promise<RolloutView> {
    return this.queries.run(new ReadRollout(gateway));
  }

  @Post('freeze')
  @Scopes('deploy')
  @HttpCode(200)
  @Describe({ tag, summary: 'Freeze the gateway: every target stays at what it runs', write: true, body: ReasonBody, answers })
  freeze(@Param('gateway') gateway: string, @JsonBody() body: Json, @Write() write: WriteRequest, @Answer() reply: FastifyReply) {
    return this.order(gateway, parseReason('freeze', body), write, reply);
  }

  @Post('unfreeze')
  @Scopes('deploy')
  @HttpCode(200)
  @Describe({ tag, summary: 'Let versions go on after a freeze', write: true, body: ReasonBody, answers })
  unfreeze(@Param('gateway') gateway: string, @JsonBody() body: Json, @Write() write: WriteRequest, @Answer() reply: FastifyReply) {
    return this.order(gateway, parseReason('unfreeze', body), write, reply);
  }

  @Post('promote')
  @Scopes('deploy')
  @HttpCode(200)
  @Describe({
    tag,
    summary: 'Bring a version to every target at once',
    details: 'With the strategy `manual` nothing comes to a target otherwise; with `waves` it ends the wave that is under way.',
    write: true,
    body: PromoteBody,
    answers,
  })
  promote(@Param('gateway') gateway: string, @JsonBody() body: Json, @Write() write: WriteRequest, @Answer() reply: FastifyReply) {
    return this.order(gateway, parsePromote(body), write, reply);
  }

  @Post('halt')
  @Scopes('deploy')
  @HttpCode(200)
  @Describe({ tag, summary: 'Halt the wave that is under way: its targets go back', write: true, body: ReasonBody, answers })
  halt(@Param('gateway') gateway: string, @JsonBody() body: Json, @Write() write: WriteRequest, @Answer() reply: FastifyReply) {
    return this.order(gateway, parseReason('halt', body), write, reply);
  }

  @Post('resume')
  @Scopes('deploy')
  @HttpCode(200)
  @Describe({ tag, summary: 'Begin the waves anew after one was halted, with the newest version', write: true, body: ReasonBody, answers })
  resume(@Param('gateway') gateway: string, @JsonBody() body: Json, @Write() write: WriteRequest, @Answer() reply: FastifyReply) {
    return this.order(gateway, parseReason('resume', body), write, reply);
  }

  @Post('pins')
  @Scopes('deploy')
  @HttpCode(200)
  @Describe({
    tag,
    summary: 'Pin a target to a version, older or newer than what the others run',
    details: 'A pinned target is in no wave, and nobody waits for it.',
    write: true,
    body: PinBody,
    answers,
  })
  pin(@Param('gateway') gateway: string, @JsonBody() body: Json, @Write() write: WriteRequest, @Answer() reply: FastifyReply) {
    return this.order(gateway, parsePin(body), write, reply);
  }

  @Delete('pins/:target')
  @Scopes('deploy')
  @Describe({ tag, summary: 'Let a pinned target run what the others do', write: true, answers })
  unpin(@Param('gateway') gateway: string, @Param('target') target: string, @Write() write: WriteRequest, @Answer() reply: FastifyReply) {
    return this.order(gateway, { kind: 'unpin', target, reason: write.context.reason ?? '' }, write, reply);
  }

  @Post('hold/confirm')
  @Scopes('deploy')
  @HttpCode(200)
  @Describe({
    tag,
    summary: 'Confirm that a held push may lose what it loses',
    details:
      'A push is held that would lose more of the routes, hosts or certificates than `rollout.shrinkPercent` without anybody having named them.',
    write: true,
    body: ConfirmPushBody,
    answers,
  })
  confirm(@Param('gateway') gateway: string, @JsonBody() body: Json, @Write() write: WriteRequest, @Answer() reply: FastifyReply) {
    return this.order(gateway, parseConfirmPush(body), write, reply);
  }

  private async order(gateway: string, order: RolloutOrder, write: WriteRequest, reply: FastifyReply): Promise<object> {
    const outcome = await this.commands.run(
      new SwitchRollout(gateway, order, { context: write.context, dryRun: write.dryRun }),
      write.context,
    );
    if (outcome.dryRun) return dryRunAnswer(reply, outcome);
    if (outcome.replayed) reply.header('Idempotency-Replayed', 'true');
    return this.queries.run(new ReadRollout(gateway));
  }
}
