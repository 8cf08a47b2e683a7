import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryHandler } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';
import { DB } from '#platform/http/tokens.js';
import { eachInTurns } from '#platform/kernel/turns.js';

import { readQuarantines } from './list-quarantines.js';
import type { QuarantinedState } from './quarantine.js';

/** A state of a subject that must not be brought back. */
export type Quarantined = QuarantinedState;

/** A state by its content hash; without a digest, whichever of the subject's. */
export interface StateNamed {
  readonly subject: string;
  readonly digest?: string;
}

/** Which of these states of a gateway's subjects are under quarantine. */
export class FindQuarantined extends Query<Quarantined[]> {
  constructor(
    readonly gateway: string,
    readonly states: Iterable<StateNamed>,
  ) {
    super();
  }
}

@QueryHandler(FindQuarantined)
export class FindQuarantinedHandler implements IQueryHandler<FindQuarantined> {
  constructor(@Inject(DB) private readonly db: Db) {}

  /** Quarantines are few and the states of an import are many, so it goes through the former. */
  async execute({ gateway, states }: FindQuarantined): Promise<Quarantined[]> {
    const quarantines = await readQuarantines(this.db, gateway);
    if (quarantines.length === 0) return [];
    const subjects = new Set(quarantines.map(({ subject }) => subject));
    const wanted = new Set<string>();
    await eachInTurns(states, (state) => {
      if (subjects.has(state.subject)) wanted.add(keyOf(state.subject, state.digest ?? '*')); // a digest is computed when it is asked for
    });
    return quarantines
      .filter(({ subject, digest }) => wanted.has(keyOf(subject, digest)) || wanted.has(keyOf(subject, '*')))
      .map(({ subject, digest, id, reason }) => ({ subject, digest, id, reason }));
  }
}

function keyOf(subject: string, digest: string): string {
  return `${subject}\n${digest}`;
}
