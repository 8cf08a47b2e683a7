import { setImmediate as nextTurn } from 'node:timers/promises';

import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryHandler } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';
import { readChanges, readLiving } from '#platform/eventstore/read-changes.js';
import { readHead } from '#platform/eventstore/read-history.js';
import { stateAt } from '#platform/eventstore/read-log.js';
import { DB } from '#platform/http/tokens.js';
import { DomainError } from '#platform/kernel/errors.js';
import { GatewayBook } from './gateway-book.js';

/** So many mappings are kept in memory, over all gateways: about 1 kB each. The gateways that were asked for last stay. */
const MOST_KEPT = 250_000;
const SLICE = 2_000;

/**
 * The routes of a gateway in memory, at its newest version or at the one that is named. What was read is kept and brought up to date by the events
 * since, so that only the first question costs a look at every mapping. The book goes on changing: what belongs together is asked in one turn.
 */
export class ReadRouteBook extends Query<GatewayBook> {
  constructor(
    readonly gateway: string,
    readonly version?: number,
  ) {
    super();
  }
}

@QueryHandler(ReadRouteBook)
export class ReadRouteBookHandler implements IQueryHandler<ReadRouteBook> {
  /** In the order in which they were last asked for. */
  readonly #books = new Map<string, GatewayBook>();
  readonly #lines = new Map<string, { readonly running: Promise<GatewayBook>; next: Promise<GatewayBook> | undefined }>();

  constructor(@Inject(DB) private readonly db: Db) {}

  /** @throws DomainError not_found `gateway_not_found`, `version_not_found`. */
  async execute({ gateway, version }: ReadRouteBook): Promise<GatewayBook> {
    if (version !== undefined) return this.past(gateway, version);
    // Who asks while a look is under way may have written since it began: all of those share the next one.
    const line = this.#lines.get(gateway);
    if (line === undefined) {
      const running = this.current(gateway).finally(() => this.#lines.delete(gateway));
      this.#lines.set(gateway, { running, next: undefined });
      return running;
    }
    line.next ??= line.running.catch(() => undefined).then(() => this.execute(new ReadRouteBook(gateway)));
    return line.next;
  }

  private async current(gateway: string): Promise<GatewayBook> {
    const stream = `gateway/${gateway}`;
    const known = this.#books.get(gateway);
    const news = known === undefined ? undefined : await readChanges(this.db, stream, known.version);
    const book = known !== undefined && news !== undefined ? known : await this.living(stream, gateway);
    if (news !== undefined) {
      for (const { subject, state } of news.changes) book.take(subject, state);
      book.version = news.version;
    }
    this.#keep(gateway, book);
    return book;
  }

  private async living(stream: string, gateway: string): Promise<GatewayBook> {
    this.#books.delete(gateway);
    const book = new GatewayBook();
    book.version = await readLiving(this.db, stream, (page) => {
      for (const { subject, state } of page) book.take(subject, state);
    });
    if (book.version === 0) throw notFound(gateway);
    return book;
  }

  private async past(gateway: string, version: number): Promise<GatewayBook> {
    const stream = `gateway/${gateway}`;
    const head = await readHead(this.db, stream);
    if (head === 0) throw notFound(gateway);
    if (version < 1 || version > head) {
      const message = `This gateway has no version of this number; its newest is ${head}.`;
      throw new DomainError('not_found', 'version_not_found', message, { extra: { currentVersion: head } });
    }
    if (version === head) return this.execute(new ReadRouteBook(gateway));
    const book = new GatewayBook();
    for (const [i, { subject, state }] of (await stateAt(this.db, stream, version)).entries()) {
      book.take(subject, state);
      if (i % SLICE === SLICE - 1) await nextTurn();
    }
    book.version = version;
    return book;
  }

  #keep(gateway: string, book: GatewayBook): void {
    this.#books.delete(gateway);
    this.#books.set(gateway, book);
    let kept = 0;
    for (const { routes } of this.#books.values()) kept += routes.size;
    for (const [name, { routes }] of this.#books) {
      if (kept <= MOST_KEPT || name === gateway) break;
      this.#books.delete(name);
      kept -= routes.size;
    }
  }
}

function notFound(gateway: string): DomainError {
  return new DomainError('not_found', 'gateway_not_found', `There is no gateway ${gateway}; create it first.`);
}
