import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryHandler } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';
import { listSubjects, readSubject } from '#platform/eventstore/read-log.js';
import { DB } from '#platform/http/tokens.js';

import { bareFingerprint, type PrincipalState, principalSubject } from './principal.js';

const BATCH = 1000;

/** A principal, with its fingerprint as Envoy compares it too. */
export interface PrincipalView {
  readonly name: string;
  readonly fingerprint: string;
  /** Lower case, no colons. */
  readonly sha256: string;
}

/** Every principal of a gateway, by name. */
export class ListPrincipals extends Query<PrincipalView[]> {
  constructor(readonly gateway: string) {
    super();
  }
}

@QueryHandler(ListPrincipals)
export class ListPrincipalsHandler implements IQueryHandler<ListPrincipals> {
  constructor(@Inject(DB) private readonly db: Db) {}

  async execute({ gateway }: ListPrincipals): Promise<PrincipalView[]> {
    const found: PrincipalView[] = [];
    for (;;) {
      const after = found.at(-1)?.name;
      const batch = await listSubjects(this.db, {
        stream: `gateway/${gateway}`,
        kind: 'principal',
        limit: BATCH,
        ...(after === undefined ? {} : { after: principalSubject(after) }),
      });
      found.push(...batch.map((record) => toView(record.state as PrincipalState)));
      if (batch.length < BATCH) return found;
    }
  }
}

function toView({ name, fingerprint }: PrincipalState): PrincipalView {
  return { name, fingerprint, sha256: bareFingerprint(fingerprint) };
}

/** One principal; undefined when there is none of this name. */
export class ReadPrincipal extends Query<PrincipalState | undefined> {
  constructor(
    readonly gateway: string,
    readonly name: string,
  ) {
    super();
  }
}

@QueryHandler(ReadPrincipal)
export class ReadPrincipalHandler implements IQueryHandler<ReadPrincipal> {
  constructor(@Inject(DB) private readonly db: Db) {}

  async execute({ gateway, name }: ReadPrincipal): Promise<PrincipalState | undefined> {
    const record = await readSubject(this.db, `gateway/${gateway}`, principalSubject(name));
    return (record.state as PrincipalState | null) ?? undefined;
  }
}
