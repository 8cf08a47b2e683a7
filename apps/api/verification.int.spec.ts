import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

import { AnchorWriter } from '#features/verification/anchor-writer.js';
import { readHeads } from '#platform/eventstore/log-heads.js';
import { createLog } from '#platform/log/log.js';

import { startTestApi, type TestApi } from './test-api.js';

const path = '/v1/audit/verification';
const g = '/v1/gateways/default';

describe('the verification of the log over HTTP', () => {
  let test: TestApi;
  let folder: string;
  let writer: AnchorWriter;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'chancery-verification-'));
    const [file, keyFile] = [join(folder, 'anchors.jsonl'), join(folder, 'key.pem')];
    writer = new AnchorWriter({ path: file, keyFile, log: createLog({ process: 'projector', level: 'silent' }) });
    test = await startTestApi({ CHANCERY_ANCHOR_FILE: file, CHANCERY_ANCHOR_PUBLIC_KEY_FILE: `${keyFile}.pub` });
  });
  afterAll(async () => {
    await test.close();
    rmSync(folder, { recursive: true });
  });
  const anchor = async () => writer.append(await readHeads(test.api.database.db), new Date());

  /** Something of every kind of subject that there is: made, changed, ended, and made again. */
  async function writeEverything(): Promise<void> {
    const mapping = { prefix: '/user/', service: 'usersvc', methods: ['GET', 'POST'], headers: { 'x-a': '1' }, labels: { team: 'ä"\\' } };
    const steps: [string, string, object?][] = [
      ['PATCH', `${g}/settings`, { services: { usersvc: ['127.0.0.1:9001'] }, defaultTimeoutMs: 4000 }],
      ['POST', `${g}/mappings`, { name: 'user', ...mapping }],
      ['PUT', `${g}/mappings/exact`, { path: '/exact', host: '*.example.com', service: 'usersvc' }],
      ['PATCH', `${g}/mappings/user`, { timeoutMs: 100 }],
      ['DELETE', `${g}/mappings/user`],
      ['POST', `${g}/mappings?confirmWithin=5m&reason=two%0Alines`, { name: 'user', ...mapping, prefix: `/${'long/'.repeat(300)}` }],
      ['POST', '/ambassador/principal/alice', { fingerprint: 'AB'.repeat(32) }],
      ['POST', '/ambassador/principal/alice', { fingerprint: 'cd'.repeat(32) }],
      ['DELETE', '/ambassador/principal/alice'],
      ['POST', '/v1/gateways', { name: 'second', settings: {} }],
      ['POST', `${g}/redeployments`, { reason: 'because' }],
      ['POST', '/v1/tokens', { scopes: ['audit'] }],
    ];
    for (const [method, url, body] of steps) {
      const answer = await test.ask(method, url, body === undefined ? {} : { body: body as never });
      if (answer.status >= 300) throw new Error(`${method} ${url}: ${answer.status} ${answer.text}`);
    }
    const { token, id } = await test.makeToken(['read']);
    await test.ask('GET', g, { token });
    await test.ask('DELETE', `/v1/tokens/${id}`);
  }

  it('finds a log with every kind of event as it was written, in both modes', async () => {
    await writeEverything();
    await anchor();
    for (const mode of ['full', 'incremental']) {
      const answer = await test.ask('GET', `${path}?mode=${mode}`);
      expect(answer.status).toBe(200);
      expect(answer.headers['cache-control']).toBe('no-store');
      expect(answer.json).toMatchObject({ ok: true, mode, anchors: { configured: true, ok: true, count: 1, faults: [] }, warnings: [] });
      expect(answer.json.streams.map(({ stream }: { stream: string }) => stream)).toEqual(
        expect.arrayContaining(['access', 'gateway/default', 'gateway/second']),
      );
      const heads = await readHeads(test.api.database.db);
      expect(answer.json.streams).toMatchObject(heads.map((head) => ({ ...head, ok: true, fault: null })));
    }
  });

  it('names what was altered, as an answer and not as a refusal', async () => {
    const pg = await import('pg');
    const admin = new pg.default.Client({ connectionString: test.database.adminUrl });
    await admin.connect();
    await admin.query(
      "SET session_replication_role = replica; UPDATE chancery.event SET state = '{}' WHERE stream = 'gateway/default' AND subject = 'mapping/exact'",
    );
    await admin.end();
    const { status, json } = await test.ask('GET', `${path}?mode=full`);
    expect([status, json.ok]).toEqual([200, false]);
    const fault = { kind: 'altered', table: 'event', version: 4, subject: 'mapping/exact', position: 0 };
    expect(json.streams.filter(({ ok }: { ok: boolean }) => !ok)).toMatchObject([{ stream: 'gateway/default', fault }]);
  });

  it('is for the scope audit alone, and knows its modes', async () => {
    const admin = await test.makeToken(['read', 'write', 'deploy', 'admin']);
    expect((await test.ask('GET', path, { token: admin.token })).json).toMatchObject({
      status: 403,
      code: 'scope_missing',
      missingScopes: ['audit'],
    });
    const auditor = await test.makeToken(['audit']);
    expect((await test.ask('GET', path, { token: auditor.token })).json.mode).toBe('incremental');
    expect((await test.ask('GET', g, { token: auditor.token })).status).toBe(403);
    for (const [query, pointer] of [
      ['mode=all', '/mode'],
      ['mode=', '/mode'],
      ['since=3', '/since'],
      ['mode=full&mode=full', '/mode'],
    ] as const)
      expect((await test.ask('GET', `${path}?${query}`)).json).toMatchObject({ status: 400, code: 'query_invalid', errors: [{ pointer }] });
  });
});
