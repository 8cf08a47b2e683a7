import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';

import { gatewayKind } from '#features/gateway/gateway.kind.js';
import { SubjectKinds } from '#features/history/subject-kind.js';
import { mappingKind } from '#features/mapping/mapping.kind.js';
import { principalKind } from '#features/principal/principal.kind.js';
import { routeTestKind } from '#features/route-test/route-test.kind.js';
import { openDatabase } from '#platform/database/database.js';
import { readHeads } from '#platform/eventstore/log-heads.js';
import { verifyChain } from '#platform/eventstore/verify-chain.js';
import { sha256Hex } from '#platform/kernel/digest.js';

import { fillLargeLog } from '../../../test/load/large-log.js';
import { aContext, anEvent, type LogFixture, openLog } from '../../../test/support/log-fixture.js';
import { AnchorArchive } from './anchor-archive.js';
import { AnchorWriter } from './anchor-writer.js';
import { LogVerifier } from './log-verifier.js';
import { silent, thingKinds } from './tampering.fixture.js';

const kinds = new SubjectKinds([gatewayKind, mappingKind(new Set()), principalKind, routeTestKind]);

describe('while others write', () => {
  let log: LogFixture;
  beforeAll(async () => {
    log = await openLog();
  });
  afterAll(() => log.close(), 30_000);

  test('sixteen writers on two streams never raise a false alarm', async () => {
    let writing = true;
    const stores = [log.store, log.anotherStore()];
    const writers = Array.from({ length: 16 }, async (_, writer) => {
      const stream = `gateway/busy${writer % 2}`;
      const store = stores[writer % stores.length] ?? log.store;
      let n = 0;
      for (; writing; n++) {
        const mine = `thing/${writer}-${n % 5}`;
        const shared = `thing/shared-${n % 3}`;
        const confirm = n % 7 === 0 ? { confirmWithinMs: 60_000 } : {};
        await store.handle({ stream, subjects: [mine, shared], context: aContext(confirm) }, (view) => {
          const claims = [`name:${mine}`, `n:${mine}:${n}`];
          const before = view.subject(shared).state;
          const next = before === null ? { n } : null; // the shared ones come and go
          return [
            anEvent(mine, { n }, { claims }),
            anEvent(shared, next, { claims: next === null ? [] : [`name:${shared}`, `n:${shared}:${n}`] }),
            anEvent(mine, { n, again: true }, { claims }),
          ];
        });
      }
      return n;
    });
    const verifier = new LogVerifier({ database: log.database, kinds: thingKinds, anchors: undefined });
    try {
      for (let round = 0; round < 12; round++) {
        const found = await verifier.verify(round % 3 === 2 ? 'full' : 'incremental');
        expect(found.streams.filter(({ ok }) => !ok)).toEqual([]);
        expect(found.ok).toBe(true);
      }
    } finally {
      writing = false;
    }
    const written = (await Promise.all(writers)).reduce((sum, n) => sum + n, 0);
    const last = await verifier.verify('full');
    expect(last).toMatchObject({ ok: true, anchors: { configured: false, ok: true, count: 0 } });
    expect(last.warnings.map(({ code }) => code)).toEqual(['anchors_not_configured']);
    expect(last.streams.reduce((sum, { version }) => sum + version, 0)).toBe(written);
    expect(written).toBeGreaterThan(100);
  }, 60_000);
});

test('commands of many events, which take another way into the log', async () => {
  const log = await openLog();
  const names = Array.from({ length: 500 }, (_, n) => `thing/${n}`);
  const put = (subject: string, n: number) => anEvent(subject, { n }, { claims: [`name:${subject}`, `n:${subject}:${n}`] });
  const stream = 'gateway/bulk';
  await log.store.handle({ stream, subjects: names, context: aContext() }, () => names.map((name) => put(name, 1)));
  await log.store.handle({ stream, subjects: names, context: aContext({ confirmWithinMs: 1_000 }) }, () => [
    ...names.map((name, n) => (n % 3 === 0 ? anEvent(name, null) : put(name, 2))),
    ...names.slice(0, 10).map((name) => put(name, 3)),
  ]);
  const found = await new LogVerifier({ database: log.database, kinds: thingKinds, anchors: undefined }).verify('full');
  expect(found.streams).toMatchObject([{ stream, ok: true, checked: 2, fault: null }]);
  await log.close();
});

describe('a verifier', () => {
  let log: LogFixture;
  let folder: string;
  const stream = 'gateway/one';
  const put = (n: number) =>
    log.store.handle({ stream, subjects: ['thing/x'], context: aContext() }, () => [
      anEvent('thing/x', { n }, { claims: ['name:thing/x', `n:thing/x:${n}`] }),
    ]);
  beforeEach(async () => {
    log = await openLog();
    folder = mkdtempSync(join(tmpdir(), 'chancery-verifier-'));
    for (let n = 1; n <= 5; n++) await put(n);
  });
  afterEach(async () => {
    await log.close();
    rmSync(folder, { recursive: true });
  }, 30_000);
  const verifier = (anchors?: AnchorArchive) => new LogVerifier({ database: log.database, kinds: thingKinds, anchors });
  const asAdmin = (statement: string) =>
    log.asAdmin(`SET session_replication_role = replica; ${statement}; RESET session_replication_role`);

  test('goes on where it stopped, and looks at all of it when told to', async () => {
    const one = verifier();
    const checked = async (mode: 'incremental' | 'full') => (await one.verify(mode)).streams.map((found) => found.checked);
    expect(await checked('incremental')).toEqual([5]);
    expect(await checked('incremental')).toEqual([0]);
    await put(6);
    expect(await checked('incremental')).toEqual([1]);
    expect(await checked('full')).toEqual([6]);
    // What lies before is not read again unless it is asked for.
    await asAdmin("UPDATE chancery.event SET type = 'Forged' WHERE version = 2");
    expect((await one.verify('incremental')).ok).toBe(true);
    expect((await one.verify('full')).streams).toMatchObject([{ fault: { kind: 'altered', version: 2 } }]);
    // A stream that was found wrong is looked at from its beginning until it is right again.
    expect((await one.verify('incremental')).streams).toMatchObject([{ fault: { kind: 'altered', version: 2 } }]);
    await asAdmin("UPDATE chancery.event SET type = 'ThingPut' WHERE version = 2");
    expect((await one.verify('incremental')).streams).toMatchObject([{ ok: true, checked: 6 }]);
  });

  test('remembers the hash that it found right: a chain rebuilt behind its back is noticed without anchors', async () => {
    const one = verifier();
    await one.verify('full');
    await asAdmin(`UPDATE chancery.version v SET actor = 'token/x', hash = chancery.version_hash(parent_hash, stream, version, events_root, event_count, command_id, action, 'token/x',
        request_id, idempotency_key, fingerprint, details::text, recorded_at, reason) WHERE version = 5;
      UPDATE chancery.stream s SET hash = v.hash FROM chancery.version v WHERE v.stream = s.stream AND v.version = 5`);
    const found = await one.verify('incremental');
    expect(found.streams).toMatchObject([{ ok: false, fault: { kind: 'anchor_mismatch', version: 5, from: 1, to: 5 } }]);
    expect((await verifier().verify('full')).ok).toBe(true); // nobody else can know
  });

  test('runs once at a time: who asks meanwhile gets that result, unless it asks for more', async () => {
    const one = verifier();
    const [first, second, full, third] = await Promise.all([
      one.verify('incremental'),
      one.verify('incremental'),
      one.verify('full'),
      one.verify('incremental'),
    ]);
    expect(second).toBe(first);
    expect(third).toBe(first);
    expect(full).not.toBe(first);
    expect(full.mode).toBe('full');
    const [whole, part] = await Promise.all([one.verify('full'), one.verify('incremental')]);
    expect(part).toBe(whole);
  });

  test('ends when nobody waits any more, and not before', async () => {
    const one = verifier();
    const [impatient, patient] = [new AbortController(), new AbortController()];
    const left = one.verify('full', impatient.signal);
    const stays = one.verify('full', patient.signal);
    impatient.abort(new Error('gone'));
    await expect(left).rejects.toThrow('gone');
    expect((await stays).ok).toBe(true);
    const alone = new AbortController();
    const nobody = one.verify('full', alone.signal);
    alone.abort(new Error('gone'));
    await expect(nobody).rejects.toThrow('gone');
    expect((await one.verify('full')).ok).toBe(true); // a new one, not the one that was stopped
    const stopped = one.verify('full');
    one.stop();
    await expect(stopped).rejects.toMatchObject({ kind: 'unavailable', code: 'verification_stopped' });
    await expect(one.verify('full', AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone');
  });

  test('says when the application could change the log', async () => {
    const codes = async (url: string) => {
      const database = openDatabase({ url, applicationName: 'spec', maxConnections: 1 });
      const found = await new LogVerifier({ database, kinds: thingKinds, anchors: undefined }).verify('full');
      await database.close();
      return found.warnings.map(({ code }) => code);
    };
    expect(await codes(log.test.url)).toEqual(['anchors_not_configured']);
    expect(await codes(log.test.ownerUrl)).toEqual(['one_database_role', 'anchors_not_configured']);
    await log.asAdmin('GRANT DELETE ON chancery.event TO chancery_app; ALTER TABLE chancery.version DISABLE TRIGGER append_only');
    const warned = await verifier().verify('full');
    expect(warned.ok).toBe(true);
    expect(warned.warnings).toMatchObject([
      { code: 'log_writable', message: expect.stringContaining('event') },
      { code: 'guard_missing', message: expect.stringContaining('version') },
      { code: 'anchors_not_configured' },
    ]);
  });

  test('reads what is new in the anchor file, and all of it again when the database no longer agrees', async () => {
    const file = join(folder, 'anchors.jsonl');
    const writer = new AnchorWriter({ path: file, keyFile: join(folder, 'key.pem'), log: silent });
    const archive = new AnchorArchive({ file, publicKeyFile: join(folder, 'key.pem.pub') });
    const one = verifier(archive);
    expect(await one.verify('full')).toMatchObject({
      ok: true,
      anchors: { configured: true, count: 0 },
      warnings: [{ code: 'anchors_empty' }],
    });
    for (const n of [6, 7, 8]) {
      await put(n);
      await writer.append(await readHeads(log.database.db), new Date());
      expect(await one.verify('incremental')).toMatchObject({ ok: true, anchors: { ok: true, count: n - 5 }, warnings: [] });
    }
    // A process that starts now trusts what the newest anchor pins, and checks what came after it.
    await put(9);
    expect(
      (await verifier(new AnchorArchive({ file, publicKeyFile: join(folder, 'key.pem.pub') })).verify('incremental')).streams,
    ).toMatchObject([{ checked: 1 }]);
    await asAdmin(
      `DELETE FROM chancery.version WHERE version > 6; DELETE FROM chancery.event WHERE version > 6;
       UPDATE chancery.stream s SET version = 6, hash = v.hash FROM chancery.version v WHERE v.stream = s.stream AND v.version = 6`,
    );
    const truncated = { kind: 'truncated', stream, from: 7, to: 8 };
    expect(await one.verify('incremental')).toMatchObject({ ok: false, anchors: { count: 3, faults: [truncated] } });
    expect(await one.verify('incremental')).toMatchObject({ ok: false, anchors: { count: 3, faults: [truncated] } });
  });
});

test('the statements of docs/verification.md give the texts whose SHA-256 the log holds', async () => {
  const log = await openLog();
  const context = aContext({ reason: 'first\nand second line', requestId: 'r1', confirmWithinMs: 60_000 });
  await log.store.handle({ stream: 'gateway/default', subjects: ['thing/x'], context }, () => [anEvent('thing/x', { text: 'ä "quoted"' })]);
  const page = readFileSync(join(import.meta.dirname, '../../../docs/verification.md'), 'utf8');
  const statements = [...page.matchAll(/```sql\n([\s\S]*?)```/g)].map(([, statement]) => statement ?? '');
  const hashes = [];
  for (const statement of statements) {
    const [row] = await log.asAdmin<Record<string, string>>(statement);
    hashes.push(sha256Hex(Object.values(row ?? {})[0] ?? ''));
  }
  const [stored] = await log.asAdmin<{ digest: string; hash: string; root: string; parent: string }>(
    `SELECT encode(e.digest, 'hex') AS digest, encode(v.hash, 'hex') AS hash, encode(v.events_root, 'hex') AS root, encode(v.parent_hash, 'hex') AS parent
     FROM chancery.event e JOIN chancery.version v USING (stream, version)`,
  );
  expect(hashes).toEqual([stored?.digest, stored?.hash]);
  expect(stored?.root).toBe(sha256Hex(Buffer.from(stored?.digest ?? '', 'hex')));
  expect(stored?.parent).toBe(sha256Hex('chancery\ngateway/default'));
  await log.close();
});

describe('a large log', () => {
  /** CHANCERY_LARGE_LOG=1000000 measures; the small one is there to see that what measures is right. */
  const events = Number(process.env.CHANCERY_LARGE_LOG ?? 20_000);

  test(`${events} events verify, chunk by chunk, and one altered among them is found`, async () => {
    const log = await openLog();
    const stream = 'gateway/large';
    await fillLargeLog(log.test.ownerUrl, { stream, events });
    await fillLargeLog(log.test.ownerUrl, { stream: 'gateway/bulk', events: 2_000, eventsPerVersion: 500 });
    const database = openDatabase({ url: log.test.url, applicationName: 'spec', maxConnections: 1, statementTimeoutMs: 120_000 });
    const verifier = new LogVerifier({ database, kinds, anchors: undefined });
    const began = performance.now();
    expect(await verifyChain(database.db, stream)).toMatchObject({ checked: events, fault: null });
    const chainMs = performance.now() - began;
    const found = await verifier.verify('full');
    expect(found.streams.map(({ checked, fault }) => ({ checked, fault }))).toEqual([
      { checked: 4, fault: null },
      { checked: events, fault: null },
    ]);
    const again = await verifier.verify('incremental');
    expect(again.streams.map(({ checked, ok }) => ({ checked, ok }))).toEqual([
      { checked: 0, ok: true },
      { checked: 0, ok: true },
    ]);
    if (process.env.CHANCERY_LARGE_LOG !== undefined)
      process.stderr.write(
        `chain ${Math.round(chainMs)} ms (${Math.round(events / chainMs)}k events/s), everything ${found.durationMs} ms, nothing new ${again.durationMs} ms\n`,
      );
    const middle = Math.floor(events / 2);
    await log.asAdmin(
      `SET session_replication_role = replica; UPDATE chancery.event SET state = '{}' WHERE stream = '${stream}' AND version = ${middle}`,
    );
    expect((await verifier.verify('full')).streams[1]).toMatchObject({
      fault: { kind: 'altered', table: 'event', version: middle, position: 0 },
    });
    await database.close();
    await log.close();
  }, 600_000);
});
