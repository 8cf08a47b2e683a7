import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryHandler } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';
import { listSubjects } from '#platform/eventstore/read-log.js';
import { DB } from '#platform/http/tokens.js';

/** A state of a subject that must not be brought back. */
export interface Quarantined {
  readonly subject: string;
  /** The content hash of the state: 64 hexadecimal digits. */
  readonly digest: string;
  /** The quarantine's own id. */
  readonly id: string;
  readonly reason: string;
}

/** A state by its content hash; without a digest, whichever of the subject's. */
export interface StateNamed {
  readonly subject: string;
  readonly digest?: string;
}

/** Which of these states are quarantined in this gateway at this moment, by id. */
export class FindQuarantined extends Query<Quarantined[]> {
  constructor(
    readonly gateway: string,
    readonly states: readonly StateNamed[],
  ) {
    super();
  }
}

const PAGE = 1_000;
const KIND = 'quarantine';

@QueryHandler(FindQuarantined)
export class FindQuarantinedHandler implements IQueryHandler<FindQuarantined> {
  constructor(@Inject(DB) private readonly db: Db) {}

  /** Quarantines are few and the states of an import are many, so it goes through the former. */
  async execute({ gateway, states }: FindQuarantined): Promise<Quarantined[]> {
    if (states.length === 0) return [];
    const wanted = new Set(states.map(({ subject, digest }) => keyOf(subject, digest ?? '*')));
    const found: Quarantined[] = [];
    for (let after: string | undefined; ; ) {
      const records = await listSubjects(this.db, {
        stream: `rollout/${gateway}`,
        kind: KIND,
        limit: PAGE,
        ...(after === undefined ? {} : { after }),
      });
      for (const { subject: own, state } of records) {
        const [subject, digest, reason] = [state?.subject, state?.digest, state?.reason].map(String) as [string, string, string];
        if (wanted.has(keyOf(subject, digest)) || wanted.has(keyOf(subject, '*')))
          found.push({ subject, digest, id: own.slice(`${KIND}/`.length), reason });
      }
      if (records.length < PAGE) return found;
      after = records.at(-1)?.subject;
    }
  }
}

function keyOf(subject: string, digest: string): string {
  return `${subject}\n${digest}`;
}
