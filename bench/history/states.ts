import { sqlQuery } from '#platform/database/database.js';
import { stateAt } from '#platform/eventstore/read-log.js';

import type { Measurement, OpenPart } from './measurement.js';

const byReplay =
  'SELECT DISTINCT ON (subject) subject, subject_version, version, state FROM chancery.event WHERE stream = $1 AND version <= $2 ORDER BY subject, subject_version DESC';
const byKey =
  'SELECT subject, version, from_version, schema_version, state, recorded_at FROM chancery.subject WHERE stream = $1 AND subject = ANY ($2)';

/** The whole configuration as of a version, wherever in the history that lies. */
export const openPart: OpenPart = async ({ database: { db }, stream, versions, mappings }) => {
  const living = await sqlQuery<{ subject: string }>(db, 'SELECT subject FROM chancery.subject WHERE stream = $1', [stream]);
  const subjects = living.map(({ subject }) => subject);
  /** Every subject lives from version `mappings` on: nine places in the rest of the history. */
  const at = (turn: number) => mappings + Math.floor(((versions - mappings) * (1 + (turn % 9))) / 10);
  const limit = async () => (await sqlQuery(db, byKey, [stream, subjects])).length;
  const against = 'SELECT of as many rows by primary key';
  const read: Measurement = {
    name: `state at a version, ${mappings} rows`,
    against,
    goal: 3,
    times: 9,
    product: async (turn) => (await stateAt(db, stream, at(turn))).length,
    limit,
  };
  const replayed: Measurement = {
    name: 'the same without the history of states: DISTINCT ON over the events, for comparison',
    against,
    times: 1,
    product: async (turn) => (await sqlQuery(db, byReplay, [stream, at(turn)])).length,
    limit,
  };
  return [read, replayed];
};
