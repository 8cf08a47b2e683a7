import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import pg from 'pg';
import { parse } from 'yaml';

import { AnchorWriter } from '#features/verification/anchor-writer.js';
import { sqlQuery } from '#platform/database/database.js';
import { type LogHead, readHeads } from '#platform/eventstore/log-heads.js';
import { createWake, type Wake } from '#platform/eventstore/wake.js';
import { createLog } from '#platform/log/log.js';

import { startTestApi, type TestApi } from '../../apps/api/test-api.js';
import { type AuditProjector, startAuditProjector } from '../../apps/projector/src/audit-projector.js';
import { type Between, buildCommand, type Meddle, type Ran, type RunOptions, runCommand, standBetween } from './command.fixture.js';

// Each command is a process of its own, and the machine may be busy.
jest.setTimeout(60_000);

const ESC = '\u001b';

let test: TestApi;
let wake: Wake;
let projector: AuditProjector;
let home: string;
let env: Record<string, string>;

beforeAll(async () => {
  buildCommand();
  test = await startTestApi();
  wake = createWake(test.database.url);
  const log = createLog({ process: 'projector', level: 'silent' });
  projector = startAuditProjector({ database: test.api.database, wake, log, onApplied: () => undefined });
  home = mkdtempSync(join(tmpdir(), 'chancery-home-'));
  env = { HOME: home, CHANCERY_API: test.api.url, CHANCERY_TOKEN: test.token };
});
afterAll(async () => {
  await projector?.close();
  await wake?.close();
  await test?.close();
  if (home !== undefined) rmSync(home, { recursive: true, force: true });
});

/** `chancery ...args`, each word an argument of its own. */
const chancery = (args: readonly string[], options: RunOptions = {}): Promise<Ran> =>
  runCommand(args, { ...options, env: { ...env, ...options.env } });
const words = (line: string) => line.split(' ');

/** As `chancery`, which must end well; what it wrote. */
async function done(args: string | readonly string[], options: RunOptions = {}): Promise<string> {
  const ran = await chancery(typeof args === 'string' ? words(args) : args, options);
  if (ran.status !== 0) throw new Error(`chancery ${[args].flat().join(' ')} ended with ${ran.status}: ${ran.stdout}${ran.stderr}`);
  return ran.stdout;
}

/** With -o json, read. */
// biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
async function json(args: string | readonly string[], options: RunOptions = {}): Promise<any> {
  return JSON.parse(await done([...(typeof args === 'string' ? words(args) : args), '-o', 'json'], options));
}

const head = async (): Promise<number> => (await test.ask('GET', '/v1/gateways/default')).json.version;
const sql = (text: string, values: readonly unknown[] = []) => sqlQuery(test.api.database.db, text, values);

describe('mapping', () => {
  it('is made, read, replaced, patched and ended, each with its place in the history', async () => {
    const made = await done([
      'mapping',
      'create',
      'user',
      '--prefix',
      '/user/',
      '--service',
      'usersvc',
      '--label',
      'team=a',
      '--reason',
      'new team',
    ]);
    expect(made).toMatch(/^Made: "user" in version \d+\.\n! unverified_service: .*\nIs it live yet\? chancery wait --version \d+\n$/);
    expect(await json('mapping get user')).toMatchObject({ name: 'user', prefix: '/user/', labels: { team: 'a' }, version: 1 });
    expect(parse(await done('mapping get user -o yaml'))).toMatchObject({ name: 'user', prefix: '/user/' });
    expect(await done('mapping get user')).toMatch(/^name +user\n[\s\S]*\nstatus +pending\n/m);
    await done('mapping set user --prefix /user/ --service othersvc --timeout 10s --method GET --header x-a=b --if-version 1');
    await done('mapping patch user --timeout 250ms --unset methods --unset headers');
    expect(await json('mapping get user')).toMatchObject({
      service: 'othersvc',
      timeoutMs: 250,
      methods: [],
      headers: {},
      labels: {},
      version: 3,
    });
    expect((await json('mapping list --service othersvc')).items).toMatchObject([{ name: 'user' }]);
    await done(['mapping', 'delete', 'user', '--reason', 'gone']);
    const history = await json('mapping history user');
    expect(history.items.map(({ event }: { event: string }) => event)).toEqual([
      'MappingDeleted',
      'MappingUpdated',
      'MappingUpdated',
      'MappingCreated',
    ]);
    expect(await done('mapping history user --limit 1')).toMatch(
      /^\S+ {2}MappingDeleted by token\/\w+ in version \d+ .*: gone\n- mapping\/user\n/,
    );
    expect((await json('history --subject mapping/user --limit 1')).items).toMatchObject([{ action: 'DeleteMapping', reason: 'gone' }]);
  });

  it('takes its fields from a file, under the options', async () => {
    const fields = 'prefix: /filed/\nservice: filesvc\nlabels: { team: b }\n';
    await done('mapping create filed -f - --service usersvc', { stdin: fields });
    expect(await json('mapping get filed')).toMatchObject({ prefix: '/filed/', service: 'usersvc', labels: { team: 'b' } });
    expect((await chancery(words('mapping set filed -f -'), { stdin: '[1]' })).status).toBe(2);
  });

  it('lists by label, on as many pages as that takes', async () => {
    for (const name of ['one', 'two', 'three'])
      await done(`mapping create list-${name} --prefix /list-${name}/ --service usersvc --label list=yes --label nr=${name}`);
    expect((await json('mapping list --label list=yes --label nr=two')).items).toHaveLength(1);
    const ran = await chancery(words('mapping list --label list=yes --limit 2'));
    expect(ran.stdout.split('\n').map((line) => line.split(' ')[0])).toEqual(['NAME', 'list-one', 'list-three', '']);
    expect(ran.stderr).toContain('--limit');
    expect(await done('mapping list --host nowhere.example')).toBe('No mapping fits.\n');
  });

  it('shows a dry run and changes nothing', async () => {
    const before = await test.fingerprint();
    const shown = await done('mapping create dry --prefix /dry/ --service usersvc --dry-run');
    expect(shown).toMatch(/^on version \d+: 1 change: 1 new\n\+ mapping\/dry\n/);
    expect(await json('mapping create dry --prefix /dry/ --service usersvc --dry-run')).toMatchObject({ dryRun: true });
    expect(await test.fingerprint()).toBe(before);
  });

  it.each([
    ['mapping create filed --prefix /other/ --service usersvc', 5, /mapping_exists/],
    ['mapping create bad --prefix bad --service usersvc', 2, /\/prefix: .*path_not_absolute/],
    ['mapping create twice --prefix /a/ --path /b --service usersvc', 2, /\/p/],
    ['mapping set filed --prefix /filed/ --service usersvc --if-version 99', 5, /version_mismatch[\s\S]*Next: .*look again/],
    ['mapping patch filed', 2, /Nothing to change was given/],
    ['mapping patch filed --unset name', 2, /--unset/],
    ['mapping get absent', 1, /mapping_not_found/],
    ['mapping get ..', 2, /cannot be the name/],
    ['mapping get filed --gateway absent', 1, /Next: .*--gateway/],
    ['mapping delete absent', 1, /mapping_not_found/],
    ['mapping', 2, /Usage: chancery mapping/],
    ['mapping create', 2, /missing required argument/],
    ['mapping create x --timeout soon', 2, /90s, 5m, 1h/],
    ['mapping list --status odd', 2, /status/],
  ])('%s exits with %i', async (line, status, said) => {
    const ran = await chancery(words(line));
    expect({ ...ran }).toMatchObject({ status, stdout: '' });
    expect(ran.stderr).toMatch(said);
    expect(ran.stderr).not.toMatch(/\n {4}at /);
  });
});

describe('history, show, diff', () => {
  it('tell who changed what, when and why', async () => {
    await done(['mapping', 'create', 'told', '--prefix', '/told/', '--service', 'usersvc', '--reason', 'first \u202eday']);
    const made = await head();
    await done('mapping patch told --timeout 7s');
    const table = await done('history --limit 2');
    expect(table.split('\n')[0]).toMatch(/^VERSION +TIME +ACTION +CHANGES +ACTOR +CONFIRM +REASON$/);
    expect(table).toContain('first \\u202eday');
    expect(table).not.toContain('\u202e');
    expect((await json(['history', '--limit', '3', '--since', '1h', '--actor', 'token/none'])).items).toEqual([]);
    expect((await json('history --until 2001-01-01')).items).toEqual([]);
    const shown = await done(['show', String(made + 1)]);
    expect(shown).toMatch(/^version +\d+\naction +UpdateMapping\n/);
    expect(shown).toContain('~ mapping/told\n    /timeoutMs  5000 → 7000\n');
    expect(await json(['show', String(made)])).toMatchObject({ version: made, events: [{ subject: 'mapping/told' }] });
  });

  it('compare two versions, in the mappings and in Envoy', async () => {
    const now = await head();
    expect(await done(`diff ${now}`)).toBe(
      `version ${now - 1} → ${now}: 1 change: 1 changed\n~ mapping/told\n    /timeoutMs  5000 → 7000\n`,
    );
    expect(await done(`diff ${now - 2}..`)).toContain('+ mapping/told');
    expect((await json(`diff 0..${now}`)).changes.map(({ op }: { op: string }) => op)).toContain('added');
    expect(await done(`diff ${now}..${now} --exit-code`)).toContain('no changes');
    expect((await chancery(words(`diff ${now} --exit-code`))).status).toBe(1);
    expect(await done(`diff ${now} --rendered`)).toMatch(/In Envoy's configuration: \d+ resources?\n[\s\S]*~ route /);
    expect((await chancery(words('diff 1..9999999'))).status).toBe(1);
    expect((await chancery(words('diff one..two'))).status).toBe(2);
    expect((await chancery(words('show 9999999'))).stderr).toMatch(/version_not_found/);
  });
});

describe('plan, apply, export', () => {
  it('round-trips the configuration, and twice is once', async () => {
    const yaml = await done('export');
    const before = await head();
    expect(await done('apply -f -', { stdin: yaml })).toMatch(/^Nothing to change: .* \(version \d+\)\.\n$/);
    expect(await json('apply -f -', { stdin: await done('export -o json') })).toMatchObject({ unchanged: true });
    expect(await head()).toBe(before);
    expect(parse(yaml)).toEqual(JSON.parse(await done(`export --version ${before} -o json`)));
    expect(await done('export')).toBe(yaml);
  });

  it('plans, then carries out exactly the plan, from YAML in a file', async () => {
    const file = join(home, 'gateway.yaml');
    writeFileSync(file, 'mappings:\n  - name: applied\n    prefix: /applied/ # by hand\n    service: usersvc\n');
    const before = await test.fingerprint();
    const planned = await chancery(['plan', '-f', file, '--exit-code']);
    expect([planned.status, planned.stdout]).toEqual([1, expect.stringContaining('+ mapping/applied')]);
    expect(await test.fingerprint()).toBe(before);
    const plan = await json(['plan', '-f', file]);
    expect(await done(['apply', '-f', file, '--dry-run'])).toContain('+ mapping/applied');
    const applied = await done(['apply', '-f', file, '--if-version', String(plan.basedOn), '--reason', 'by hand']);
    expect(applied).toMatch(/^version \d+: 1 change: 1 new\n\+ mapping\/applied\n/);
    expect(await done(['plan', '-f', file, '--exit-code'])).toContain('no changes');
    expect(await chancery(['apply', '-f', file, '--if-version', '1'])).toMatchObject({ status: 5 });
  });

  it('prunes only what its owner has', async () => {
    const document = (...names: string[]) =>
      JSON.stringify({ mappings: names.map((name) => ({ name, prefix: `/${name}/`, service: 'usersvc' })) });
    await done('apply -f - --owner shop', { stdin: document('shop-a', 'shop-b') });
    const pruned = await json('apply -f - --owner shop --prune', { stdin: document('shop-a') });
    expect(pruned.changes.map(({ subject, after }: { subject: string; after: unknown }) => [subject, after])).toEqual([
      ['mapping/shop-b', null],
    ]);
    expect(await chancery(words('apply -f - --prune'), { stdin: document('shop-a') })).toMatchObject({ status: 2 });
  });

  it.each([
    ['', 'is empty'],
    ['a: 1\na: 2\n', 'neither JSON nor YAML'],
    ['a: 1\n---\nb: 1\n', 'several documents'],
    ['mappings:\n  - name: bad\n    prefix: bad\n    service: usersvc\n', '/mappings/0/prefix: '],
    ['nonsense: []\n', '/nonsense'],
    ['{"mappings": [}', 'neither JSON nor YAML'],
  ])('refuses the document %j with status 2', async (stdin, said) => {
    const ran = await chancery(words('apply -f -'), { stdin });
    expect(ran).toMatchObject({ status: 2, stdout: '' });
    expect(ran.stderr).toContain(said);
  });

  it('refuses a file that is not there', async () => {
    expect(await chancery(['apply', '-f', join(home, 'missing.yaml')])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('ENOENT'),
    });
    expect((await chancery(['apply'])).status).toBe(2);
  });
});

describe('rollback, revert, confirm', () => {
  let good: number;
  beforeEach(async () => {
    await done('mapping set back --prefix /back/ --service usersvc --timeout 5s');
    good = await head();
    await done('mapping patch back --timeout 9s --reason oops');
  });

  const rollback = (...more: string[]) => ['rollback', String(good), '--reason', 'too slow', ...more];

  it('shows the way back, and goes it only when told so', async () => {
    const before = await head();
    expect(await done(rollback('--dry-run'))).toContain('~ mapping/back\n    /timeoutMs  9000 → 5000\n');
    const refused = await chancery(rollback());
    expect(refused).toMatchObject({ status: 2, stdout: '', stderr: expect.stringContaining('--yes') });
    expect(await head()).toBe(before);
    const said = await done(rollback('--yes'));
    expect(said).toContain('/timeoutMs  9000 → 5000');
    expect(said).toMatch(new RegExp(`version +${before + 1}\nrestores +${good}\ndigest +[0-9a-f]{64} \\(equal`));
    expect(await json(['show', String(before + 1)])).toMatchObject({ reason: 'too slow' });
    expect(await done(rollback('--yes'))).toContain('there is nothing to restore');
    expect(await head()).toBe(before + 1);
  });

  it('answers JSON alone on stdout, the plan on stderr', async () => {
    const ran = await chancery(rollback('--yes', '-o', 'json'));
    expect(JSON.parse(ran.stdout)).toMatchObject({ toVersion: good, equal: true });
    expect(ran.stderr).toContain('/timeoutMs  9000 → 5000');
  });

  it('asks on a terminal, and takes only yes for it', async () => {
    const before = await head();
    const no = await chancery(rollback(), { terminal: true, stdin: 'n\n' });
    expect([no.status, no.stdout]).toEqual([1, expect.stringContaining(`Restore version ${good}? [y/N]`)]);
    expect(no.stdout).toContain('Nothing was changed.');
    expect(await head()).toBe(before);
    const yes = await chancery(rollback(), { terminal: true, stdin: 'y\n' });
    expect(yes.status).toBe(0);
    expect(yes.stdout).toContain(`${ESC}[`); // a terminal gets colours
    expect(await head()).toBe(before + 1);
  });

  it('refuses what has moved, what is not there, and what says nothing', async () => {
    expect(await chancery(rollback('--yes', '--if-version', '1'))).toMatchObject({ status: 5 });
    expect(await chancery(['rollback', '9999999', '--reason', 'x', '--yes'])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('version_not_found'),
    });
    expect(await chancery(['rollback', '1', '--yes'])).toMatchObject({ status: 2, stderr: expect.stringContaining('--reason') });
    expect(await chancery(rollback('--yes', '--confirm-within', '2d'))).toMatchObject({ status: 2 });
  });

  it('undoes one version, and names what stands in the way', async () => {
    const oops = await head();
    await done('mapping create beside --prefix /beside/ --service usersvc');
    expect(await json(['revert', String(oops), '--reason', 'oops', '--yes'])).toMatchObject({ reverted: oops });
    expect(await json('mapping get back')).toMatchObject({ timeoutMs: 5000 });
    await done('mapping delete beside');
    await done('mapping patch back --timeout 11s');
    const conflict = await chancery(['revert', String(oops), '--reason', 'again', '--yes']);
    expect(conflict).toMatchObject({ status: 5, stdout: '' });
    expect(conflict.stderr).toMatch(/revert_conflict[\s\S]*mapping\/back\/timeoutMs, changed by version \d+[\s\S]*Next: /);
  });

  it('keeps a version that was to be confirmed', async () => {
    const said = await done(rollback('--yes', '--confirm-within', '5m'));
    const made = await head();
    expect(said).toContain(`It is undone by itself unless this comes within 5m: chancery confirm ${made}`);
    expect((await json('status')).openConfirmations).toMatchObject([{ version: made, state: 'open' }]);
    expect(await done('status')).toContain(`chancery confirm ${made}`);
    expect(await done(['confirm', String(made), '--reason', 'all is well'])).toMatch(new RegExp(`^Version ${made} stays`));
    expect((await json('status')).openConfirmations).toEqual([]);
    expect(await json(['show', String(made)])).toMatchObject({ confirmation: { state: 'confirmed' } });
    expect(await chancery(['confirm', String(good)])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('confirmation_not_found'),
    });
  });

  it('does not bring back a quarantined state, unless told to', async () => {
    const bad = await head();
    await done('mapping patch back --timeout 5s');
    const added = await json(['quarantine', 'add', 'mapping/back', '--version', String(bad), '--reason', 'took the shop down']);
    expect(await done('quarantine list')).toMatch(new RegExp(`\n${added.id} +mapping/back .*took the shop down\n`));
    const back = ['rollback', String(bad), '--reason', 'try', '--yes'];
    expect(await chancery(back)).toMatchObject({
      status: 5,
      stderr: expect.stringMatching(/state_quarantined[\s\S]*Next: .*--override-quarantine/),
    });
    await done([...back, '--override-quarantine']);
    expect(await done(['quarantine', 'lift', added.id, '--reason', 'mended'])).toBe(`Lifted: ${added.id}.\n`);
    expect((await json('quarantine list')).items).toEqual([]);
    expect((await chancery(['quarantine', 'add', 'mapping/back', '--reason', 'x'])).status).toBe(2);
    expect((await chancery(['quarantine', 'lift', 'absent'])).status).toBe(1);
  });
});

describe('wait, status, redeploy', () => {
  beforeEach(async () => {
    await sql('DELETE FROM chancery.deployment');
    await sql('DELETE FROM chancery.target');
  });

  const enrol = (name: string, proven: number) =>
    sql("INSERT INTO chancery.target (name, gateway, proven_version, applied_version, state) VALUES ($1, 'default', $2, $2, 'enrolled')", [
      name,
      proven,
    ]);

  it('ends with 0 when every target has proven it or a newer one', async () => {
    const now = await head();
    await enrol('edge-1', now);
    expect(await json('wait')).toMatchObject({ version: now, satisfied: true });
    expect(await done(`wait --version ${now - 1}`)).toMatch(/^version \d+: live\n[\s\S]*edge-1 .*superseded by version \d+\n/);
  });

  it('waits until it is', async () => {
    const now = await head();
    await enrol('edge-1', now - 1);
    const waiting = chancery(words(`wait --version ${now} --timeout 30s`));
    await sql('SELECT pg_sleep(0.5)'); // let it look once: it then says where it stands
    await sql('UPDATE chancery.target SET proven_version = $1, applied_version = $1', [now]);
    expect(await waiting).toMatchObject({ status: 0, stdout: expect.stringContaining('live') });
  });

  it('waits out an API that is away for a while', async () => {
    const now = await head();
    await enrol('edge-1', now - 1);
    const between = await standBetween(test.api.url, async (count, answer, handOn) => {
      if (count >= 1 && count <= 4) return answer.socket?.destroy();
      if (count > 4) await sql('UPDATE chancery.target SET proven_version = $1, applied_version = $1', [now]);
      const { status, body, headers } = await handOn();
      answer.writeHead(status, headers).end(body);
    });
    try {
      const ran = await chancery(words(`wait --version ${now} --timeout 30s`), { env: { CHANCERY_API: between.url } });
      expect(ran).toMatchObject({ status: 0, stdout: expect.stringContaining('live') });
      expect(between.seen.length).toBeGreaterThan(5);
    } finally {
      await between.close();
    }
  });

  it('ends with 3 when the time is over, without any target too', async () => {
    const now = await head();
    expect(await chancery(words('wait --timeout 1s'))).toMatchObject({ status: 3, stderr: expect.stringContaining('no target') });
    await enrol('edge-1', now - 1);
    const late = await chancery(words(`wait --version ${now} --timeout 1s`));
    expect(late).toMatchObject({ status: 3, stderr: expect.stringContaining(`edge-1: pending (proven ${now - 1})`) });
  });

  it('ends with 4 when a target refused it, and says why', async () => {
    const now = await head();
    await enrol('edge-1', now - 1);
    await sql(
      `INSERT INTO chancery.deployment (id, gateway, target, version, trigger, state, code, detail, finished_at)
       VALUES (gen_random_uuid(), 'default', 'edge-1', $1, 'change', 'failed', 'child_died', 'its parent ${ESC}[31mdied', clock_timestamp())`,
      [now],
    );
    const refused = await chancery(words(`wait --version ${now} --timeout 30s`));
    expect(refused).toMatchObject({
      status: 4,
      stderr: expect.stringMatching(/was refused\.[\s\S]*edge-1: its parent \\u001b\[31mdied \(child_died\)/),
    });
    expect(refused.stdout + refused.stderr).not.toContain(ESC);
  });

  it('says how the gateway stands', async () => {
    await enrol('edge-1', 1);
    const status = await json('status');
    expect(status).toMatchObject({
      gateway: { name: 'default', version: await head() },
      targets: [{ name: 'edge-1' }],
      api: { status: 'ok' },
    });
    const text = await done('status');
    expect(text).toMatch(/^gateway +default\nversion +\d+\n/);
    expect(text).toMatch(/lag +The route tables are at most \d+ versions behind the log\./);
    expect(text).toMatch(/\nedge-1 +enrolled /);
    expect(await chancery(words('status --gateway absent'))).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('gateway_not_found'),
    });
  });

  it('asks for a redeployment', async () => {
    expect(await done(['redeploy', '--reason', 'new disk'])).toMatch(/^Asked for \([0-9a-f-]{36}\): every target\./);
    expect(await json('redeploy --reason disk --target edge-1 --target edge-2 --force')).toMatchObject({
      targets: ['edge-1', 'edge-2'],
      force: true,
    });
    expect((await chancery(['redeploy'])).status).toBe(2);
  });
});

describe('audit', () => {
  it('shows the trail, newest first, and only what is asked for', async () => {
    await done(['mapping', 'create', 'audited', '--prefix', '/audited/', '--service', 'usersvc', '--reason', 'for the trail']);
    expect((await chancery(words('mapping patch audited --timeout 2s --if-version 99'))).status).toBe(5);
    await projector.caughtUp();
    const table = await done('audit --subject mapping/audited');
    expect(table).toMatch(/^POSITION +TIME +RESULT +ACTION +SUBJECTS +GATEWAY +ACTOR +REASON\n/);
    expect(table).toContain('for the trail');
    expect(table).toContain('refused version_mismatch');
    const accepted = await json('audit --subject mapping/audited --result accepted --gateway default --text trail');
    expect(accepted.items).toMatchObject([{ action: 'CreateMapping', gateway: 'default' }]);
    expect(await done('audit --actor nobody')).toBe('No record fits.\n');
    expect((await chancery(words('audit --result odd'))).status).toBe(2);
    expect((await chancery(words('audit --follow --export csv'))).status).toBe(2);
    expect((await chancery(words('audit --after 3'))).status).toBe(2);
  });

  it('is exported whole, and from a position on', async () => {
    await projector.caughtUp();
    const lines = (await done('audit --export ndjson')).trimEnd().split('\n');
    const positions = lines.map((line) => JSON.parse(line).position);
    expect(positions).toEqual(positions.map((_, i) => i + 1));
    const rest = (await done(`audit --export ndjson --after ${positions.length - 2}`)).trimEnd().split('\n');
    expect(rest).toEqual(lines.slice(-2));
    expect((await done('audit --export ndjson --limit 3')).trimEnd().split('\n')).toEqual(lines.slice(0, 3));
    const csv = await done('audit --export csv');
    expect(csv.split('\n')[0]).toMatch(/position/);
    const gone = await chancery(words('audit --export ndjson --after 99999999'));
    expect(gone).toMatchObject({ status: 1, stderr: expect.stringMatching(/cursor_gone[\s\S]*Next: .*without --after/) });
  });

  it('is followed until told to end', async () => {
    await projector.caughtUp();
    let begun = () => {};
    const first = new Promise<void>((resolve) => {
      begun = resolve;
    });
    const until = (text: string) => {
      const lines = text.split('\n').length - 1;
      if (lines > 0) begun(); // it has shown what there was
      return lines > 1;
    };
    const followed = chancery(words('audit --follow --limit 1 --subject mapping/audited -o json'), { until });
    await first;
    await done('mapping patch audited --timeout 3s');
    const { status, stdout } = await followed;
    const records = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(status).toBe(0);
    expect(records.at(-1)).toMatchObject({ action: 'UpdateMapping', subjects: ['mapping/audited'] });
  });
});

describe('verify', () => {
  const anchorsIn = (folder: string) => ({ path: join(folder, 'anchors.jsonl'), keyFile: join(folder, 'key.pem') });
  /** Writes an anchor of the heads as they are, changed by `change`. */
  const anchor = async (folder: string, change: (head: LogHead) => LogHead = (head) => head) => {
    const writer = new AnchorWriter({ ...anchorsIn(folder), log: createLog({ process: 'projector', level: 'silent' }) });
    await writer.append((await readHeads(test.api.database.db)).map(change), new Date());
  };
  const folder = () => mkdtempSync(join(home, 'anchors-'));
  const flags = (of: string) => ['--anchors', anchorsIn(of).path, '--public-key', `${anchorsIn(of).keyFile}.pub`];

  it('finds the log unaltered', async () => {
    const answer = await json('verify --full');
    expect(answer).toMatchObject({ ok: true, mode: 'full' });
    const text = await done('verify');
    expect(text).toMatch(/^STREAM +VERSION +CHECKED +HASH +RESULT\n/);
    expect(text).toMatch(/\nUnaltered \(incremental, \d+ versions in \d+\.\d s\)\.\n$/);
  });

  it('agrees with a copy of the anchors', async () => {
    const of = folder();
    await anchor(of);
    await done('mapping set anchored --prefix /anchored/ --service usersvc');
    await anchor(of);
    expect(await json(['verify', ...flags(of)])).toMatchObject({ ok: true, copyOfAnchors: { ok: true, count: 2, faults: [] } });
    expect(await done(['verify', '--full', ...flags(of)])).toMatch(/anchors\.jsonl: 2 anchors, the last of \S+, \d+ heads compared/);
  });

  it('names what a copy of the anchors contradicts', async () => {
    const other = folder();
    await anchor(other, (head) => (head.stream === 'gateway/default' ? { ...head, hash: 'ab'.repeat(32) } : head));
    const rebuilt = await chancery(['verify', ...flags(other)]);
    expect(rebuilt).toMatchObject({ status: 1, stdout: expect.stringMatching(/anchor_mismatch[\s\S]*NOT as it was written/) });
    const longer = folder();
    await anchor(longer, (head) => ({ ...head, version: head.version + 3 }));
    const cut = await chancery(['verify', ...flags(longer), '-o', 'json']);
    expect(cut.status).toBe(1);
    const streams = (await readHeads(test.api.database.db)).map(({ stream }) => stream);
    const { faults } = JSON.parse(cut.stdout).copyOfAnchors;
    expect(faults.map(({ kind, stream }: { kind: string; stream: string }) => [kind, stream])).toEqual(
      streams.map((stream) => ['truncated', stream]),
    );
  });

  it('names a copy of the anchors that was changed, or signed with another key', async () => {
    const of = folder();
    await anchor(of);
    const { path } = anchorsIn(of);
    writeFileSync(path, readFileSync(path, 'utf8').replace(/"version":\d+/, '"version":1'));
    expect(await chancery(['verify', ...flags(of)])).toMatchObject({
      status: 1,
      stdout: expect.stringContaining('line 1: anchor_invalid'),
    });
    expect(await chancery(['verify', '--anchors', path])).toMatchObject({ status: 2, stderr: expect.stringContaining('go together') });
    expect(await chancery(['verify', '--anchors', path, '--public-key', path])).toMatchObject({ status: 2 });
    expect(await chancery(['verify', '--anchors', join(of, 'missing'), '--public-key', `${anchorsIn(of).keyFile}.pub`])).toMatchObject({
      status: 2,
    });
  });

  it('ends with 6 for a token that may not', async () => {
    const { token } = await test.makeToken(['read', 'admin']);
    expect(await chancery(['verify'], { env: { CHANCERY_TOKEN: token } })).toMatchObject({
      status: 6,
      stderr: expect.stringContaining('scope audit'),
    });
  });
});

describe('token and login', () => {
  it('lists and revokes; a revoked one is told from where it came', async () => {
    const { token, id } = await test.makeToken(['read']);
    const file = join(home, 'revoked');
    writeFileSync(file, `${token}\n`);
    await done('history --limit 1 --token-file '.concat(file));
    expect(await done('token list')).toMatch(new RegExp(`\n${id} +active +read `));
    expect(await done(['token', 'revoke', id, '--reason', 'left'])).toBe(`Revoked: ${id}.\n`);
    const deadline = Date.now() + 10_000; // it is refused within 5 s, the command promises
    let refused = await chancery(['history', '--token-file', file]);
    while (refused.status === 0 && Date.now() < deadline) refused = await chancery(['history', '--token-file', file]);
    expect(refused).toMatchObject({ status: 6, stdout: '' });
    expect(refused.stderr).toContain(`The token came from --token-file ${file}.`);
    expect(refused.stderr).not.toContain(token);
    expect((await chancery(['token', 'revoke', 'absent'])).status).toBe(1);
  });

  it('is told which scope it lacks', async () => {
    const { token } = await test.makeToken(['read']);
    const refused = await chancery(words('mapping delete audited'), { env: { CHANCERY_TOKEN: token } });
    expect(refused).toMatchObject({
      status: 6,
      stderr: expect.stringMatching(/scope_missing[\s\S]*came from CHANCERY_TOKEN[\s\S]*scope write/),
    });
  });

  it('is kept for its owner alone, used for its address alone, and forgotten', async () => {
    const own = mkdtempSync(join(home, 'login-'));
    const alone = { env: { HOME: own, CHANCERY_API: '', CHANCERY_TOKEN: '' } };
    const file = join(own, '.config/chancery/config.json');
    const wrong = await chancery(['login', '--api', test.api.url], { ...alone, stdin: 'chy_0123456789abcdef_nonsense\n' });
    expect(wrong.status).toBe(6);
    expect(() => statSync(file)).toThrow(/ENOENT/);
    expect(await chancery(['login', '--api', test.api.url], { ...alone, stdin: '' })).toMatchObject({ status: 2 });
    expect(await done(['login', '--api', `${test.api.url}/`], { ...alone, stdin: `${test.token}\n` })).toContain(
      `Logged in to ${test.api.url}.`,
    );
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual({ api: test.api.url, token: test.token });
    expect((await json('history --limit 1', alone)).items).toHaveLength(1);
    const elsewhere = await chancery(['history', '--api', test.api.url.replace('127.0.0.1', 'localhost')], alone);
    expect(elsewhere.stderr).not.toContain(test.token);
    expect(await done('logout', alone)).toContain('Forgotten');
    expect(await done('logout', alone)).toContain('no login');
  });
});

describe('when it goes wrong', () => {
  const through = async (meddle: Meddle, use: (between: Between) => Promise<void>) => {
    const between = await standBetween(test.api.url, meddle);
    try {
      await use(between);
    } finally {
      await between.close();
    }
  };
  const create = (name: string, between: Between, ...more: string[]) =>
    chancery([...words(`mapping create ${name} --prefix /${name}/ --service usersvc`), ...more], { env: { CHANCERY_API: between.url } });

  it('sends a write once more when its answer was lost, and it is carried out once', async () => {
    const meddle: Meddle = async (count, answer, handOn) => {
      const { status, body, headers } = await handOn();
      if (count === 0) answer.socket?.destroy();
      else answer.writeHead(status, headers).end(body);
    };
    const before = await head();
    await through(meddle, async (between) => {
      expect(await create('lost', between)).toMatchObject({ status: 0, stdout: expect.stringContaining('Made: "lost"') });
      expect(between.seen).toHaveLength(2);
      expect(new Set(between.seen.map(({ key }) => key)).size).toBe(1);
      expect(between.seen[0]?.key).toMatch(/^[0-9a-f-]{36}$/);
    });
    expect(await head()).toBe(before + 1);
  });

  it('sends it once more when its outcome is not known, and says so when it stays so', async () => {
    const problem = JSON.stringify({ code: 'outcome_unknown', detail: 'The database was lost at the commit.', status: 503 });
    const meddle: Meddle = async (_count, answer) => {
      answer.writeHead(503, { 'content-type': 'application/problem+json', 'retry-after': '1' }).end(problem);
    };
    await through(meddle, async (between) => {
      const unknown = await create('unknown', between);
      expect(unknown).toMatchObject({ status: 1, stderr: expect.stringMatching(/outcome_unknown[\s\S]*Next: .*chancery history/) });
      expect(between.seen).toHaveLength(2);
    });
  });

  it('goes on with an export that breaks off, from the last whole record', async () => {
    await projector.caughtUp();
    const whole = (await done('audit --export ndjson')).trimEnd().split('\n');
    const meddle: Meddle = async (count, answer, handOn) => {
      if (count === 1) return answer.socket?.destroy(); // and once more before it begins
      const { status, body, headers } = await handOn();
      answer.writeHead(status, headers);
      if (count > 1) answer.end(body);
      else answer.write(body.subarray(0, body.length / 2), () => answer.socket?.destroy());
    };
    await through(meddle, async (between) => {
      const ran = await chancery(words('audit --export ndjson'), { env: { CHANCERY_API: between.url } });
      expect(ran).toMatchObject({ status: 0 });
      expect(ran.stdout.trimEnd().split('\n').slice(0, whole.length)).toEqual(whole);
      expect(between.seen.map(({ line }) => line)).toEqual([
        'GET /v1/audit',
        expect.stringMatching(/after=\d+$/),
        expect.stringMatching(/after=\d+$/),
      ]);
    });
  });

  it('says how to go on with a CSV that breaks off', async () => {
    const meddle: Meddle = async (_count, answer, handOn) => {
      const { status, body, headers } = await handOn();
      answer.writeHead(status, headers).write(body.subarray(0, body.length / 2), () => answer.socket?.destroy());
    };
    await through(meddle, async (between) => {
      const ran = await chancery(words('audit --export csv'), { env: { CHANCERY_API: between.url } });
      expect(ran).toMatchObject({ status: 1, stderr: expect.stringMatching(/broke off[\s\S]*--after/) });
    });
  });

  it('gives up after its time, with 3', async () => {
    await through(
      () => undefined,
      async (between) => {
        const late = await create('late', between, '--request-timeout', '300ms');
        expect(late).toMatchObject({ status: 3, stderr: expect.stringMatching(/No answer from .* within 0\.3 s[\s\S]*chancery history/) });
        expect(between.seen).toHaveLength(1);
      },
    );
  });

  it('says what listens there when it is something else', async () => {
    const page: Meddle = (_count, answer) => answer.writeHead(200, { 'content-type': 'text/html' }).end('<html>');
    await through(page, async (between) => {
      expect(await chancery(['history', '--api', between.url])).toMatchObject({
        status: 1,
        stderr: expect.stringMatching(/does not speak as Chancery's API/),
      });
    });
    const elsewhere: Meddle = (_count, answer) => answer.writeHead(302, { location: 'http://127.0.0.1:1/' }).end();
    await through(elsewhere, async (between) => {
      expect(await chancery(['history', '--api', between.url])).toMatchObject({
        status: 1,
        stderr: expect.stringContaining('a redirection'),
      });
    });
  });

  it('says where nothing listens, and how to start it', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    const port = await new Promise<number>((resolve) =>
      server.once('listening', () => resolve((server.address() as { port: number }).port)),
    );
    await new Promise((resolve) => server.close(resolve));
    const refused = await chancery(['history', '--api', `http://127.0.0.1:${port}`]);
    expect(refused).toMatchObject({ status: 1, stdout: '' });
    expect(refused.stderr).toMatch(new RegExp(`^Nothing listens at http://127\\.0\\.0\\.1:${port} .*\nNext: bin/dev starts`));
  });

  it.each([
    ['', 2],
    ['nonsense', 2],
    ['history --nonsense', 2],
    ['history --limit 0', 2],
    ['history -o xml', 2],
    ['history --since yesterday', 2],
    ['history --api ftp://x', 2],
    ['history --api http://x:chy_secret@127.0.0.1', 2],
    ['history --token-file missing', 2],
    ['--help', 0],
    ['history --help', 0],
    ['--gateway default history --limit 1', 0],
  ])('chancery %s exits with %i', async (line, status) => {
    const ran = await chancery(line === '' ? [] : words(line));
    expect({ line, ...ran }).toMatchObject({ status });
    expect(ran.stdout + ran.stderr).not.toMatch(/chy_secret|\n {4}at /);
  });

  it('minds no reader that has had enough', async () => {
    for (const line of ['audit --export ndjson', 'history -o json', 'export', '--help', 'cert --help']) {
      const { status, stderr } = await chancery(words(line), { deaf: true });
      expect({ line, status }).toEqual({ line, status: 0 });
      expect(stderr).not.toMatch(/EPIPE|Error/);
    }
  });

  it('names a bad variable', async () => {
    expect(await chancery(['history'], { env: { CHANCERY_API: 'nonsense' } })).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('CHANCERY_API'),
    });
  });
});

describe('colours', () => {
  it('are for terminals, and for those who ask', async () => {
    expect(await done('history')).not.toContain(ESC);
    expect(await done('history', { env: { FORCE_COLOR: '1' } })).toContain(ESC);
    expect(await done('history', { env: { FORCE_COLOR: '1', NO_COLOR: '1' } })).not.toContain(ESC);
    expect(await done('history --no-color', { env: { FORCE_COLOR: '1' } })).not.toContain(ESC);
    expect(await done('history', { terminal: true })).toContain(ESC);
    expect(await done('history -o json', { env: { FORCE_COLOR: '1' } })).not.toContain(ESC);
  });
});

describe('explain and route-test', () => {
  const gateway = ['--gateway', 'explained'];
  const on = (line: string) => [...words(line), ...gateway];
  beforeAll(async () => {
    expect((await test.ask('POST', '/v1/gateways', { body: { name: 'explained' } })).status).toBe(201);
    await done(on('mapping create user --prefix /user/ --service usersvc'));
    await done(on('mapping create canary --prefix /user/ --service canarysvc --header x-canary=1'));
  });

  it('say who gets a request, and why the others do not', async () => {
    const text = await done([...on('explain get http://h:80//user/x?q=1'), '-H', 'X-Other: a: b']);
    expect(text).toMatch(/^user gets it, and asks http:\/\/usersvc:80 for \/x\?q=1\./);
    expect(text).toMatch(/merge_slashes: \/\/user\/x -> \/user\/x/);
    expect(text).toMatch(/canary +header +The header x-canary must be "1", and is not sent\./);
    expect((await json([...on('explain GET /user/x'), '-H', 'x-canary: 1'])).matched.mapping).toBe('canary');
    expect((await json(on('explain GET /user/x --version 1'))).matched).toBeNull();
    expect(await chancery([...on('explain GET /user/x'), '-H', 'nothing'])).toMatchObject({ status: 2 });
    await done(on('mapping create secure --prefix /secure/ --service https://api.example.com'));
    expect(await done(on('explain GET /secure/'))).toMatch(/which must be +api\.example\.com, checked against the public authorities/);
    await done(on('mapping delete secure'));
  });

  it('keep what must stay so', async () => {
    expect(await done(on('route-test set u GET http://h/user/x --mapping user --rewritten-path /x'))).toMatch(/^Made: "u" in version 6/);
    expect(await done(on('route-test list'))).toMatch(/u +GET http:\/\/h\/user\/x +user +passed/);
    expect(await chancery(on('mapping delete user'))).toMatchObject({ status: 2, stderr: expect.stringContaining('route_test_failed') });
    expect(await done(on('mapping delete user --dry-run'))).toMatch(/route tests: 0 passed, 1 failed/);
    expect(await done(on('mapping delete user --override-route-tests --reason gone'))).toMatch(/^Deleted: "user"/);
    expect(await chancery(on('route-test list'))).toMatchObject({ status: 1, stdout: expect.stringContaining('failed') });
    expect(await done(on('route-test set u GET http://h/user/x --none'))).toMatch(/^Set: "u"/);
    expect(await chancery(on('route-test set v GET /x'))).toMatchObject({ status: 2 });
    expect(await done(on('route-test get u'))).toMatch(/result +passed/);
    expect(await done(on('route-test delete u'))).toMatch(/^Deleted: "u"/);
  });
});

// The last one, because nothing verifies afterwards.
describe('verify of a log that was tampered with', () => {
  it('names the record, and ends with 1', async () => {
    const owner = new pg.Client({ connectionString: test.database.adminUrl });
    await owner.connect();
    try {
      await owner.query('SET session_replication_role = replica'); // past the triggers that refuse it
      await owner.query("UPDATE chancery.version SET reason = 'nothing happened' WHERE stream = 'gateway/default' AND version = 2");
    } finally {
      await owner.end();
    }
    const altered = await chancery(words('verify --full'));
    expect(altered).toMatchObject({
      status: 1,
      stdout: expect.stringMatching(/gateway\/default: version 2 .*altered \(version\)[\s\S]*NOT as it was written/),
    });
  });
});
