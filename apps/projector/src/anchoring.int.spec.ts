import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from '@jest/globals';

import { createLog } from '#platform/log/log.js';

import { aContext, anEvent, type LogFixture, openLog } from '../../../test/support/log-fixture.js';
import { type Anchoring, startAnchoring } from './anchoring.js';

let log: LogFixture;
let folder: string;
let logged: string;
let anchored: number;
const running: Anchoring[] = [];
beforeEach(async () => {
  log = await openLog();
  folder = mkdtempSync(join(tmpdir(), 'chancery-anchoring-'));
  logged = '';
  anchored = 0;
});
afterEach(async () => {
  for (const one of running.splice(0)) await one.close({ last: false });
  await log.close();
  rmSync(folder, { recursive: true });
}, 30_000);

const destination = new Writable({
  write(chunk: Buffer, _encoding, done) {
    logged += chunk.toString();
    done();
  },
});
const put = (n: number) =>
  log.store.handle({ stream: 'gateway/a', subjects: ['thing/x'], context: aContext() }, () => [anEvent('thing/x', { n })]);
const file = () => join(folder, 'anchors', 'anchors.jsonl');
const versions = () =>
  existsSync(file())
    ? readFileSync(file(), 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line).heads[0].version)
    : [];
function start(everyMs: number): Anchoring {
  const anchors = { file: file(), keyFile: join(folder, 'anchor-key.pem'), everyMs };
  const onAnchored = () => {
    anchored += 1;
  };
  const one = startAnchoring({
    database: log.database,
    anchors,
    log: createLog({ process: 'projector', level: 'info', destination }),
    onAnchored,
  });
  running.push(one);
  return one;
}
async function until(fits: () => boolean): Promise<void> {
  for (const end = performance.now() + 10_000; !fits(); await sleep(5))
    if (performance.now() > end) throw new Error(`not in time: ${logged}`);
}

test('the heads are anchored at once, again when they moved, and a last time at the end', async () => {
  mkdirSync(join(folder, 'anchors'));
  await put(1);
  const one = start(20);
  await until(() => versions().length === 1);
  await put(2);
  await until(() => versions().length === 2);
  await put(3);
  await one.close({ last: true });
  expect(versions().at(-1)).toBe(3);
  const before = anchored;
  start(3_600_000);
  await until(() => anchored > before);
  expect(versions()).toEqual([...new Set(versions())]); // what is anchored already is not anchored again
});

test('an owner that lost its right does not write once more', async () => {
  mkdirSync(join(folder, 'anchors'));
  await put(1);
  const one = start(3_600_000);
  await until(() => anchored === 1);
  await put(2);
  await one.close({ last: false });
  expect(versions()).toEqual([1]);
});

test('what cannot be written is said and tried again: a folder that is missing, a key that others may read', async () => {
  await put(1);
  start(20);
  await until(() => logged.includes('ENOENT'));
  chmodSync(join(folder, 'anchor-key.pem'), 0o644);
  mkdirSync(join(folder, 'anchors'));
  await until(() => versions().length === 1); // the key was read when it was still its owner's
  for (const each of running.splice(0)) await each.close({ last: false });
  start(20);
  await until(() => logged.includes('chmod 600'));
  chmodSync(join(folder, 'anchor-key.pem'), 0o600);
  await put(2);
  await until(() => versions().at(-1) === 2);
});

test('without a file it says so', async () => {
  const one = startAnchoring({
    database: log.database,
    anchors: undefined,
    log: createLog({ process: 'projector', level: 'info', destination }),
    onAnchored: () => undefined,
  });
  await one.close({ last: true });
  expect(logged).toContain('no anchors are kept outside the database');
});
