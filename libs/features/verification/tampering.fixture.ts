import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';

import type { SubjectKind } from '#features/history/subject-kind.js';
import { SubjectKinds } from '#features/history/subject-kind.js';
import { type Database, openDatabase } from '#platform/database/database.js';
import { readHeads } from '#platform/eventstore/log-heads.js';
import type { JsonObject } from '#platform/kernel/json.js';
import { createLog } from '#platform/log/log.js';

import { aContext, anEvent, type LogFixture, openLog } from '../../../test/support/log-fixture.js';
import { AnchorArchive } from './anchor-archive.js';
import { AnchorWriter } from './anchor-writer.js';
import { LogVerifier, type Verification, type VerificationMode } from './log-verifier.js';

export const TAMPERED = 'gateway/tampered';
export const UNTOUCHED = 'gateway/untouched';

export const silent = createLog({
  process: 'spec',
  level: 'silent',
  destination: new Writable({ write: (_chunk, _encoding, done) => done() }),
});

/** An invented kind: its claims and references follow from its state. */
const thingKind: SubjectKind = {
  name: 'thing',
  isNamed: true,
  section: 'things',
  upcast: (state) => state,
  transition: (subject, _before, after) => thing(subject, after),
  read: (_name, value) => value as JsonObject,
  patch: (_name, _before, value) => value as JsonObject,
  write: (state) => state,
};

export const thingKinds = new SubjectKinds([thingKind]);

/** `n` is what changes; `needs` names another thing that must live. */
function thing(subject: string, state: JsonObject | null) {
  if (state === null) return anEvent(subject, null);
  const needs = typeof state.needs === 'string' ? [state.needs] : [];
  return anEvent(subject, state, { claims: [`name:${subject}`, `n:${subject}:${state.n}`], references: needs });
}

type Change = readonly [string, JsonObject | null];

/** Nine versions; the first, the middle and the last of each kind of record are known by number. */
const HISTORY: readonly { readonly changes: readonly Change[]; readonly confirmWithinMs?: number }[] = [
  { changes: [['thing/a', { n: 1 }]] },
  {
    changes: [
      ['thing/b', { n: 1, needs: 'thing/a' }],
      ['thing/c', { n: 1, needs: 'thing/a' }],
      ['thing/d', { n: 1, needs: 'thing/b' }],
    ],
    confirmWithinMs: 60_000,
  },
  { changes: [['thing/a', { n: 2 }]] },
  { changes: [['thing/d', null]] },
  {
    changes: [
      ['thing/b', { n: 2, needs: 'thing/a' }],
      ['thing/c', { n: 2, needs: 'thing/a' }],
      ['thing/d', { n: 2, needs: 'thing/b' }],
    ],
    confirmWithinMs: 60_000,
  },
  { changes: [['thing/a', { n: 3 }]] },
  { changes: [['thing/b', { n: 3, needs: 'thing/a' }]] },
  {
    changes: [
      ['thing/c', { n: 3, needs: 'thing/a' }],
      ['thing/d', { n: 3, needs: 'thing/b' }],
    ],
    confirmWithinMs: 60_000,
  },
  { changes: [['thing/a', { n: 4 }]] },
];

const ANCHORED = [3, 6, 8];

/** What a tamperer who owns the database can do beside plain statements. */
const TOOLS = `
  CREATE FUNCTION pg_temp.rehash(s text, v bigint) RETURNS void LANGUAGE sql AS $$
    UPDATE version w SET hash = version_hash(parent_hash, stream, version, events_root, event_count, command_id, action, actor, request_id, idempotency_key, fingerprint, details::text, recorded_at, reason)
    WHERE w.stream = s AND w.version = v $$;
  CREATE FUNCTION pg_temp.redigest(s text) RETURNS void LANGUAGE sql AS $$
    UPDATE event e SET digest = event_digest(type, schema_version, subject, subject_version, state::text) WHERE e.stream = s $$;
  -- Everything from the first version to the last, so that the chain is whole again.
  CREATE FUNCTION pg_temp.rebuild(s text) RETURNS void LANGUAGE plpgsql AS $$
  DECLARE h bytea := genesis_hash(s); r record;
  BEGIN
    PERFORM pg_temp.redigest(s);
    FOR r IN SELECT version FROM version WHERE stream = s ORDER BY version LOOP
      UPDATE version w SET parent_hash = h, events_root = q.root, event_count = q.events
      FROM (SELECT sha256(coalesce(string_agg(digest, ''::bytea ORDER BY position), ''::bytea)) AS root, count(*) AS events FROM event WHERE stream = s AND version = r.version) q
      WHERE w.stream = s AND w.version = r.version;
      PERFORM pg_temp.rehash(s, r.version);
      SELECT hash INTO h FROM version WHERE stream = s AND version = r.version;
    END LOOP;
    UPDATE stream SET hash = h, version = coalesce((SELECT max(version) FROM version WHERE stream = s), 0) WHERE stream = s;
    PERFORM pg_temp.refold(s);
  END $$;
  -- The tables that follow from the events, made anew.
  CREATE FUNCTION pg_temp.refold(s text) RETURNS void LANGUAGE plpgsql AS $$
  BEGIN
    DELETE FROM subject WHERE stream = s; DELETE FROM subject_history WHERE stream = s; DELETE FROM claim WHERE stream = s; DELETE FROM reference WHERE stream = s;
    DELETE FROM confirmation c WHERE stream = s AND NOT EXISTS (SELECT FROM version w WHERE w.stream = s AND w.version = c.version);
    INSERT INTO subject_history SELECT s, q.subject, q.subject_version, int8range(q.version, q.next), q.schema_version, q.state::jsonb, w.recorded_at
      FROM (SELECT e.*, lead(e.version) OVER (PARTITION BY e.subject ORDER BY e.subject_version) AS next FROM event e WHERE e.stream = s) q
      JOIN version w ON w.stream = s AND w.version = q.version WHERE q.next > q.version AND q.state IS NOT NULL;
    INSERT INTO subject SELECT DISTINCT ON (e.subject) s, e.subject, e.subject_version, e.version, e.schema_version, e.state::jsonb,
        CASE WHEN e.state IS NULL THEN NULL ELSE ARRAY['name:' || e.subject, 'n:' || e.subject || ':' || (e.state->>'n')] END, w.recorded_at
      FROM event e JOIN version w ON w.stream = s AND w.version = e.version WHERE e.stream = s ORDER BY e.subject, e.subject_version DESC;
    INSERT INTO claim SELECT s, unnest(claims), subject FROM subject WHERE stream = s;
    INSERT INTO reference SELECT s, subject, state->>'needs' FROM subject WHERE stream = s AND state->>'needs' IS NOT NULL;
  END $$;
  -- Everything after a version is gone, as if it had never been.
  CREATE FUNCTION pg_temp.cut(s text, v bigint) RETURNS void LANGUAGE plpgsql AS $$
  BEGIN
    DELETE FROM event WHERE stream = s AND version > v; DELETE FROM version WHERE stream = s AND version > v;
    UPDATE stream SET version = v, hash = coalesce((SELECT hash FROM version w WHERE w.stream = s AND w.version = v), genesis_hash(s)) WHERE stream = s;
    PERFORM pg_temp.refold(s);
  END $$;`;

/** A log with anchors, and a way to tamper with it that leaves no trace for the next. */
export interface Tampering {
  readonly log: LogFixture;
  readonly folder: string;
  readonly anchorFile: string;
  /** A verifier that has seen nothing yet. */
  verifier(database?: Database): LogVerifier;
  /** Runs the statements as a superuser with every trigger off, verifies what is there then, and takes it all back. */
  after(statements: string, mode?: VerificationMode): Promise<Verification>;
  /** The same, for good: what the database cannot read ends a transaction. */
  commit(statements: string): Promise<void>;
  close(): Promise<void>;
}

export async function openTampering(): Promise<Tampering> {
  const log = await openLog();
  const folder = mkdtempSync(join(tmpdir(), 'chancery-anchors-'));
  const anchorFile = join(folder, 'anchors.jsonl');
  const keyFile = join(folder, 'key.pem');
  const writer = new AnchorWriter({ path: anchorFile, keyFile, log: silent });
  for (const stream of [UNTOUCHED, TAMPERED]) {
    for (const [index, { changes, confirmWithinMs }] of HISTORY.entries()) {
      const context = aContext({ reason: `version\n${index + 1}`, requestId: `r${index}`, ...(confirmWithinMs && { confirmWithinMs }) });
      await log.store.handle({ stream, subjects: changes.map(([subject]) => subject), context }, () =>
        changes.map(([subject, state]) => thing(subject, state)),
      );
      if (ANCHORED.includes(index + 1)) await writer.append(await readHeads(log.database.db), new Date());
    }
  }
  const admin = openDatabase({ url: log.test.adminUrl, applicationName: 'tamperer', maxConnections: 1 });
  await admin.pool.query(TOOLS);
  const place = { file: anchorFile, publicKeyFile: `${keyFile}.pub` };
  const verifier = (database = log.database) => new LogVerifier({ database, kinds: thingKinds, anchors: new AnchorArchive(place) });
  return {
    log,
    folder,
    anchorFile,
    verifier,
    after: async (statements, mode = 'full') => {
      await admin.pool.query('BEGIN; SET LOCAL session_replication_role = replica'); // one connection: what follows is in this transaction
      try {
        await admin.pool.query(statements);
        return await verifier(admin).verify(mode);
      } finally {
        await admin.pool.query('ROLLBACK');
      }
    },
    commit: async (statements) => {
      await admin.pool.query(`BEGIN; SET LOCAL session_replication_role = replica; ${statements}; COMMIT`);
    },
    close: async () => {
      await admin.close();
      await log.close();
      rmSync(folder, { recursive: true });
    },
  };
}
