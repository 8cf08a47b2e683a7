import { randomUUID } from 'node:crypto';
import pg from 'pg';

import { openDatabase } from '#platform/database/database.js';
import { migrate } from '#platform/database/migrator.js';
import { EventStore } from '#platform/eventstore/event-store.js';
import { verifyStream } from '#platform/eventstore/read-log.js';
import type { EmbeddedPostgres } from '#platform/postgres/embedded-postgres.js';

import { installMessageDb, loadEmmett } from './peers.js';

export interface Contender {
  readonly name: string;
  /** One durable append, done when the promise resolves. */
  append(): Promise<unknown>;
  /** Throws when what was appended is not right. */
  check(): Promise<void>;
  close(): Promise<void>;
}

/** The same payload for all: one mapping. */
const payload = {
  host: 'a.example.com',
  prefix: '/api/v1',
  service: 'svc-a',
  rewrite: '/',
  timeoutMs: 3000,
  labels: { team: 'x', env: 'prod' },
};
/** Connections of those that use one per caller. More than this are slower on two cores for raw as well. */
export const CONNECTIONS = 32;

export async function openContenders(server: EmbeddedPostgres): Promise<Contender[]> {
  return [await openRaw(server), await openChancery(server), await openEmmett(server), await openMessageDb(server)];
}

/** Closes them all and waits until the server has seen the last connection end: a pool may say that it is closed while its sockets still close. */
export async function closeContenders(server: EmbeddedPostgres, contenders: readonly Contender[]): Promise<void> {
  for (const contender of contenders) await contender.close();
  const admin = new pg.Client({ connectionString: server.adminUrl });
  await admin.connect();
  const end = performance.now() + 10_000;
  for (;;) {
    const { rowCount } = await admin.query(
      "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
    );
    if (!rowCount || performance.now() > end) break;
    await new Promise((done) => setTimeout(done, 20));
  }
  await admin.end();
}

async function createDatabase(server: EmbeddedPostgres, name: string): Promise<string> {
  const admin = new pg.Client({ connectionString: server.adminUrl });
  await admin.connect();
  await admin.query(`CREATE DATABASE ${name} OWNER chancery_owner`);
  await admin.end();
  const url = new URL(server.adminUrl);
  url.pathname = `/${name}`;
  return url.href;
}

/** The limit: one row into one table with a primary key, a prepared statement, autocommit. */
async function openRaw(server: EmbeddedPostgres): Promise<Contender> {
  const pool = new pg.Pool({ connectionString: await createDatabase(server, 'bench_raw'), max: CONNECTIONS });
  await pool.query('CREATE TABLE raw (id bigserial PRIMARY KEY, payload jsonb NOT NULL)');
  let sent = 0;
  return {
    name: 'raw',
    append: () => {
      sent += 1;
      return pool.query({ name: 'raw', text: 'INSERT INTO raw (payload) VALUES ($1)', values: [JSON.stringify(payload)] });
    },
    async check() {
      const { rows } = await pool.query<{ n: string }>('SELECT count(*) AS n FROM raw');
      if (Number(rows[0]!.n) !== sent) throw new Error(`raw: ${rows[0]!.n} of ${sent}`);
    },
    close: () => pool.end(),
  };
}

/** `handle` on the whole schema: read, decide, claim, event, hash chain, current state, audit record; one gapless stream. */
async function openChancery(server: EmbeddedPostgres): Promise<Contender> {
  await migrate(server.ownerUrl);
  const database = openDatabase({ url: server.url, applicationName: 'bench' });
  const store = new EventStore({ database });
  const stream = 'gateway/bench';
  let sent = 0;
  return {
    name: 'chancery',
    append: () => {
      const id = randomUUID();
      const subject = `mapping/${id}`;
      sent += 1;
      return store.handle(
        { stream, subjects: [subject], context: { commandId: randomUUID(), action: 'CreateMapping', actor: 'token/bench', requestId: id } },
        (view) => {
          if (view.subject(subject).state) throw new Error('exists');
          return [
            {
              type: 'MappingCreated',
              schemaVersion: 1,
              subject,
              state: { name: id, ...payload },
              claims: [`match:a.example.com:prefix:/${id}/`],
            },
          ];
        },
      );
    },
    async check() {
      const { rows } = await database.pool.query<{ version: number }>('SELECT version FROM chancery.stream WHERE stream = $1', [stream]);
      if (rows[0]?.version !== sent) throw new Error(`chancery: version ${rows[0]?.version} after ${sent} commands`);
      const verified = await verifyStream(database.db, stream);
      if (!verified.ok) throw new Error(`chancery: ${verified.fault} at ${verified.version}`);
    },
    async close() {
      await store.close();
      await database.close();
    },
  };
}

async function openEmmett(server: EmbeddedPostgres): Promise<Contender> {
  const open = await loadEmmett();
  const store = open(await createDatabase(server, 'bench_emmett'));
  await store.schema.migrate();
  return {
    name: 'emmett',
    append: () => store.appendToStream(`mapping-${randomUUID()}`, [{ type: 'MappingCreated', data: payload }]),
    check: async () => undefined,
    close: () => store.close(),
  };
}

async function openMessageDb(server: EmbeddedPostgres): Promise<Contender> {
  const url = await createDatabase(server, 'bench_message_db');
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await installMessageDb(client);
  await client.end();
  const pool = new pg.Pool({ connectionString: url, max: CONNECTIONS, options: '-c search_path=message_store,public' });
  pool.on('error', () => undefined); // the server stops before the idle connections do
  return {
    name: 'message-db',
    append: () =>
      pool.query({
        name: 'write',
        text: 'SELECT message_store.write_message($1, $2, $3, $4::jsonb, $5::jsonb, $6)',
        values: [randomUUID(), `mapping-${randomUUID()}`, 'MappingCreated', JSON.stringify(payload), '{}', -1],
      }),
    check: async () => undefined,
    close: () => pool.end(),
  };
}
