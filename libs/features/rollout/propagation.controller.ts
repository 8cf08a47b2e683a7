import { Controller, Get, type OnModuleDestroy, Param } from '@nestjs/common';
import { QueryBus } from '@nestjs/cqrs';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';

import { ReadGateway } from '#features/gateway/list-gateways.js';
import { Scopes } from '#platform/http/access.decorators.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { QueryBy } from '#platform/http/query-parameters.js';
import { QueryRunner } from '#platform/http/query-runner.js';
import { Answer } from '#platform/http/request-context.js';

import type { Propagation } from './propagation.js';
import { ReadPropagation } from './read-propagation.js';
import { propagationSchema } from './rollout-answers.js';

const LONGEST_WAIT_MS = 60_000;
const unitMs = { ms: 1, s: 1_000, m: 60_000 };

const propagationParameters = z.strictObject({
  wait: z
    .string()
    .regex(/^\d{1,6}(?:ms|s|m)$/, { error: 'must be a number with ms, s or m, such as 500ms, 30s or 1m' })
    .transform((text) => Number.parseInt(text, 10) * unitMs[text.replace(/\d+/, '') as keyof typeof unitMs])
    .refine((ms) => ms <= LONGEST_WAIT_MS, { error: 'must be at most 60s' })
    .default(0)
    .describe('Answer when the version is live on every target or refused by one, at the latest after this time: 500ms, 30s, 1m.'),
});

/** /v1/gateways/{gateway}/versions/{version}/propagation: is it live yet? */
@Controller('v1/gateways/:gateway/versions/:version/propagation')
@Scopes('read')
export class PropagationController implements OnModuleDestroy {
  readonly #ending = new AbortController();

  constructor(
    private readonly queries: QueryRunner,
    private readonly bus: QueryBus,
  ) {}

  /** Who waits gets the present state; nobody holds up the end of the process. */
  onModuleDestroy(): void {
    this.#ending.abort();
  }

  @Get()
  @Describe({
    tag: 'History',
    summary: 'Read on which targets a version is live, and what keeps it from the others',
    details: 'A target that has proven a newer version counts as satisfied; one that is away is listed and not waited for.',
    query: propagationParameters,
    answers: { 200: propagationSchema },
  })
  async read(
    @Param('gateway') gateway: string,
    @Param('version') number: string,
    @QueryBy(propagationParameters) { wait }: z.infer<typeof propagationParameters>,
    @Answer() reply: FastifyReply,
  ): Promise<Propagation> {
    await this.queries.run(new ReadGateway(gateway));
    const gone = new AbortController();
    reply.raw.once('close', () => gone.abort());
    const version = /^[1-9]\d{0,14}$/.test(number) ? Number(number) : Number.NaN;
    // On the bus itself: the runner's deadline is for reads that do not wait on purpose, and each look has one of its own.
    const over = AbortSignal.any([gone.signal, this.#ending.signal]);
    const found = await this.bus.execute(new ReadPropagation(gateway, version, wait, over));
    if (this.#ending.signal.aborted) reply.header('Connection', 'close'); // kept open, it would be waited for as it was by the process
    return found;
  }
}
