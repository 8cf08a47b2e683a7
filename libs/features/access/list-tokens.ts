import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryHandler } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';
import { listSubjects, readSubject } from '#platform/eventstore/read-log.js';
import { DB } from '#platform/http/tokens.js';

import { ACCESS_STREAM, type TokenState, tokenSubject } from './access.js';

/** A token without anything that could be used in its place. */
export interface TokenView {
  readonly id: string;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly state: 'active' | 'expired' | 'revoked';
  readonly createdAt: string;
  readonly createdBy: string;
  readonly expiresAt: string;
  readonly revokedAt: string | null;
  readonly firstUsedAt: string | null;
}

/** An allow-list of members, so that a member added to the state is not shown by accident. */
export function tokenView(state: TokenState, now: number): TokenView {
  const expired = Date.parse(state.expiresAt) <= now;
  return {
    id: state.id,
    name: state.name,
    scopes: state.scopes,
    state: state.revokedAt !== null ? 'revoked' : expired ? 'expired' : 'active',
    createdAt: state.createdAt,
    createdBy: state.createdBy,
    expiresAt: state.expiresAt,
    revokedAt: state.revokedAt,
    firstUsedAt: state.firstUsedAt ?? null,
  };
}

/** Tokens by id, `limit + 1` at most after the id `after`. */
export class ListTokens extends Query<TokenView[]> {
  constructor(readonly page: { readonly after: string | undefined; readonly limit: number }) {
    super();
  }
}

@QueryHandler(ListTokens)
export class ListTokensHandler implements IQueryHandler<ListTokens> {
  constructor(@Inject(DB) private readonly db: Db) {}

  async execute({ page }: ListTokens): Promise<TokenView[]> {
    const after = page.after === undefined ? {} : { after: tokenSubject(page.after) };
    const records = await listSubjects(this.db, { stream: ACCESS_STREAM, kind: 'token', limit: page.limit + 1, ...after });
    return records.map((record) => tokenView(record.state as TokenState, Date.now()));
  }
}

export interface ReadToken {
  readonly view: TokenView;
  readonly version: number;
}

/** One token; undefined when there never was one of this id. */
export class GetToken extends Query<ReadToken | undefined> {
  constructor(readonly id: string) {
    super();
  }
}

@QueryHandler(GetToken)
export class GetTokenHandler implements IQueryHandler<GetToken> {
  constructor(@Inject(DB) private readonly db: Db) {}

  async execute({ id }: GetToken): Promise<ReadToken | undefined> {
    const record = await readSubject(this.db, ACCESS_STREAM, tokenSubject(id));
    return record.state === null ? undefined : { view: tokenView(record.state as TokenState, Date.now()), version: record.version };
  }
}
