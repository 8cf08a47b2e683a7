import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryHandler } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';
import { readHead } from '#platform/eventstore/read-history.js';
import { readSnapshot, stateAt } from '#platform/eventstore/read-log.js';
import { DB } from '#platform/http/tokens.js';
import { runInTurns } from '#platform/kernel/turns.js';

import { type DocumentFormat, documenting, writingDocument } from './configuration-document.js';
import { SubjectKinds } from './subject-kind.js';
import { checkVersion } from './version-number.js';

/** A gateway's configuration as a document. */
export interface ConfigurationRead {
  readonly version: number;
  /** Null where the caller has this version already. */
  readonly document: { readonly text: string; readonly digest: string } | null;
}

/** The configuration of a gateway at a version, or at its head; `isHeld` says of which version the caller needs no text. */
export class ReadConfiguration extends Query<ConfigurationRead> {
  constructor(
    readonly gateway: string,
    readonly version: number | undefined,
    readonly format: DocumentFormat,
    readonly isHeld: (version: number) => boolean,
  ) {
    super();
  }
}

@QueryHandler(ReadConfiguration)
export class ReadConfigurationHandler implements IQueryHandler<ReadConfiguration> {
  constructor(
    private readonly kinds: SubjectKinds,
    @Inject(DB) private readonly db: Db,
  ) {}

  /** @throws DomainError not_found `gateway_not_found`, `version_not_found`. */
  async execute({ gateway, version, format, isHeld }: ReadConfiguration): Promise<ConfigurationRead> {
    const stream = `gateway/${gateway}`;
    const head = await readHead(this.db, stream);
    checkVersion(version ?? head, { head, least: 1 });
    if (isHeld(version ?? head)) return { version: version ?? head, document: null };
    // A version below the head stays as it is, so its state may be read after the head; the head itself moves, and is read with its state.
    const state =
      version === undefined ? await readSnapshot(this.db, stream) : { version, subjects: await stateAt(this.db, stream, version) };
    const document = await runInTurns(documenting(this.kinds, state.subjects));
    return { version: state.version, document: await runInTurns(writingDocument(document, format)) };
  }
}
