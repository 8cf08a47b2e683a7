import { setTimeout as sleep } from 'node:timers/promises';

import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryHandler } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';
import { withDeadline } from '#platform/http/query-runner.js';
import { DB } from '#platform/http/tokens.js';
import { DomainError } from '#platform/kernel/errors.js';

import { type Propagation, propagationOf, type RolloutSight } from './propagation.js';
import { readRolloutSight } from './propagation.table.js';

/** How often the rows of one gateway are read while anybody waits, and how long one reading may take. Milliseconds. */
const LOOK_EVERY_MS = 100;
const LOOK_DEADLINE_MS = 5_000;

/**
 * What became of a version on each target. Waits up to `waitMs` for it to be live everywhere or
 * refused somewhere; `over` ends the waiting early.
 */
export class ReadPropagation extends Query<Propagation> {
  constructor(
    readonly gateway: string,
    readonly version: number,
    readonly waitMs: number,
    readonly over: AbortSignal,
  ) {
    super();
  }
}

@QueryHandler(ReadPropagation)
export class ReadPropagationHandler implements IQueryHandler<ReadPropagation> {
  readonly #looks: SharedLooks;

  constructor(@Inject(DB) db: Db) {
    this.#looks = new SharedLooks((gateway) => withDeadline(readRolloutSight(db, gateway), LOOK_DEADLINE_MS));
  }

  /** @throws DomainError not_found `version_not_found`; unavailable `database_unavailable`. */
  async execute({ gateway, version, waitMs, over }: ReadPropagation): Promise<Propagation> {
    const deadline = performance.now() + waitMs;
    for (;;) {
      const sight = await this.#looks.next(gateway);
      if (!(version >= 1 && version <= sight.head)) throw noVersion(sight.head);
      const propagation = propagationOf(sight, version);
      const settled = propagation.satisfied || propagation.state === 'refused';
      if (settled || over.aborted || performance.now() >= deadline) return propagation;
    }
  }
}

function noVersion(head: number): DomainError {
  return new DomainError('not_found', 'version_not_found', `This gateway has no version of this number; its newest is ${head}.`, {
    extra: { currentVersion: head },
  });
}

interface Looks {
  lastMs: number;
  planned: Promise<RolloutSight> | undefined;
}

/**
 * One reading of a gateway serves everybody who asked before it began, and two begin no closer together than `LOOK_EVERY_MS`: a thousand who wait cost
 * what one does. Nobody is answered from a reading that began before he asked, so that what a caller did is seen by him.
 */
class SharedLooks {
  readonly #byGateway = new Map<string, Looks>();

  constructor(private readonly read: (gateway: string) => Promise<RolloutSight>) {}

  next(gateway: string): Promise<RolloutSight> {
    const looks = this.#byGateway.get(gateway) ?? { lastMs: Number.NEGATIVE_INFINITY, planned: undefined };
    this.#byGateway.set(gateway, looks);
    looks.planned ??= this.#look(gateway, looks);
    return looks.planned;
  }

  async #look(gateway: string, looks: Looks): Promise<RolloutSight> {
    const waitMs = looks.lastMs + LOOK_EVERY_MS - performance.now();
    await sleep(Math.max(0, waitMs));
    looks.planned = undefined;
    looks.lastMs = performance.now();
    setTimeout(() => this.#forget(gateway), 2 * LOOK_EVERY_MS).unref();
    return this.read(gateway);
  }

  #forget(gateway: string): void {
    const looks = this.#byGateway.get(gateway);
    if (looks?.planned === undefined && performance.now() - (looks?.lastMs ?? 0) >= LOOK_EVERY_MS) this.#byGateway.delete(gateway);
  }
}
