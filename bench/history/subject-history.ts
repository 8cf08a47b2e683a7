import type { Query, QueryBus } from '@nestjs/cqrs';

import { gatewayKind } from '#features/gateway/gateway.kind.js';
import { ListSubjectHistory, ListSubjectHistoryHandler } from '#features/history/list-subject-history.js';
import { ReadDifference, ReadDifferenceHandler } from '#features/history/read-difference.js';
import { SubjectKinds } from '#features/history/subject-kind.js';
import { mappingKind } from '#features/mapping/mapping.kind.js';
import { principalKind } from '#features/principal/principal.kind.js';
import { sqlQuery } from '#platform/database/database.js';

import type { OpenPart } from './measurement.js';

const PAGE = 100;
/** What a page must say of each event: its state, and who made its version, when and why. Both by their primary keys. */
const BY_KEY = `SELECT e.subject, e.subject_version, e.version, e.position, e.type, e.schema_version, e.state, v.action, v.actor, v.reason, v.recorded_at
  FROM chancery.event e JOIN chancery.version v ON v.stream = e.stream AND v.version = e.version WHERE e.stream = $1 AND e.version = ANY ($2::bigint[])`;
const EVENT = 'SELECT subject, subject_version, version, position, type, schema_version, state FROM chancery.event';

/** One mapping's own events, and what differs between two versions. */
export const openPart: OpenPart = async ({ database: { db }, gateway, stream, versions, mappings }) => {
  const kinds = new SubjectKinds([gatewayKind, mappingKind(new Set()), principalKind]);
  const none = { execute: (query: Query<unknown>) => Promise.reject(new Error(`not part of this: ${query.constructor.name}`)) };
  const queries = none as unknown as QueryBus;
  const history = new ListSubjectHistoryHandler(queries, kinds, db);
  const difference = new ReadDifferenceHandler(queries, kinds, db);
  /** The subjects take turns, so the events of one lie as far from each other as they can. */
  const page = Math.min(PAGE, Math.floor(versions / mappings));
  const scattered = (turn: number) => Array.from({ length: page }, (_, i) => versions - (turn % mappings) - i * mappings);
  const from = (turn: number) => 1 + ((turn * 7919) % (versions - PAGE - 1));
  return [
    {
      name: `a page of one mapping's history, ${page} events`,
      against: 'SELECT of as many events and their versions by primary key',
      goal: 3,
      times: 25,
      product: async (turn) => {
        const subject = `mapping/m${(versions - 1 - (turn % mappings)) % mappings}`;
        return (await history.execute(new ListSubjectHistory(gateway, subject, { before: undefined, limit: page }))).length;
      },
      limit: async (turn) => (await sqlQuery(db, BY_KEY, [stream, scattered(turn)])).length,
    },
    {
      name: `the difference of versions N and N+${PAGE}`,
      against: 'SELECT of as many events by primary key',
      times: 25,
      product: async (turn) => {
        const at = from(turn);
        return (await difference.execute(new ReadDifference(gateway, { from: at, to: at + PAGE }, false))).changes.length;
      },
      limit: async (turn) => {
        const at = from(turn);
        return (await sqlQuery(db, `${EVENT} WHERE stream = $1 AND version > $2 AND version <= $3`, [stream, at, at + PAGE])).length;
      },
    },
  ];
};
