import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';

import { DnsServer } from '#platform/network/dns-server.fixture.js';

import { describeWhere } from '../../../test/support/describe-where.js';
import { checkout } from '../../../test/support/dev-harness.js';
import { eventually } from '../../../test/support/eventually.js';

jest.setTimeout(60_000);

/** No other address of this machine's loopback is likely to have a DNS server there. */
const [ADDRESS, PORT] = ['127.83.0.53', 53];
/** Far below the lifetimes below, so that it is seen that those are kept. */
const REFRESH_MS = 300;

const muteOnes = Array.from({ length: 3 }, (_, i) => `mute${i}.test`);
const names = [
  ...muteOnes,
  'short.test',
  'long.test',
  'many.test',
  'both.test',
  'late.test',
  'bare.test',
  'goes.test',
  'fails.test',
  'mute.test',
];

const PROGRAM = `
import { DnsNames } from ${JSON.stringify(join(checkout, 'dist/libs/features/discovery/dns-names.js'))};
const wanted = ${JSON.stringify(names)};
const dns = new DnsNames({
  refreshMs: ${REFRESH_MS},
  onChange: () => console.log(JSON.stringify(Object.fromEntries(wanted.map((name) => [name, dns.answer(name) ?? null])))),
});
dns.start();
for (const name of wanted) dns.want(name);
`;

interface Answer {
  readonly addresses: readonly string[];
  readonly error: string;
}

function missingMounts(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0)
    return 'it needs Linux, and root to give a process another /etc/resolv.conf';
  const { error, status, stderr } = spawnSync('unshare', ['--mount', 'mount', '--bind', '/dev/null', '/etc/resolv.conf']);
  return error === undefined && status === 0 ? undefined : `mounts are not allowed here (${error?.message ?? stderr.toString().trim()})`;
}

const many = Array.from({ length: 150 }, (_, i) => `10.5.${Math.floor(i / 100)}.${i % 100}`);

/** By the machine's own rules, as the product looks names up: the C library and its resolver, with a DNS server of the test in /etc/resolv.conf. */
describeWhere(missingMounts(), 'names that a real DNS server answers', () => {
  let server: DnsServer;
  let folder: string;
  let child: ChildProcess;
  let known: Readonly<Record<string, Answer | null>> = {};
  const heard: { readonly atMs: number; readonly known: typeof known }[] = [];

  beforeAll(async () => {
    server = await DnsServer.start(ADDRESS, PORT);
    folder = mkdtempSync(join(tmpdir(), 'chancery-dns-'));
    writeFileSync(join(folder, 'resolv.conf'), `nameserver ${ADDRESS}\noptions timeout:1 attempts:1\n`);
    for (const name of muteOnes) server.set(name, 'mute');
    server.set('short.test', { addresses: ['10.1.0.1'], ttlS: 1 });
    server.set('long.test', { addresses: ['10.2.0.1'], ttlS: 6 });
    server.set('many.test', { addresses: many, ttlS: 60 });
    server.set('both.test', { addresses: ['10.3.0.1', 'fd00::3:1'], ttlS: 60 });
    server.set('bare.test', 'none');
    server.set('goes.test', { addresses: ['10.4.0.1'], ttlS: 1 });
    server.set('fails.test', { addresses: ['10.6.0.1'], ttlS: 1 });
    server.set('mute.test', { addresses: ['10.7.0.1'], ttlS: 1 });
    const shell = `mount --bind ${folder}/resolv.conf /etc/resolv.conf; exec "$@"`;
    const node = [process.execPath, '--input-type=module', '-e', PROGRAM];
    child = spawn('unshare', ['--mount', '/bin/sh', '-euc', shell, 'sh', ...node], {
      env: { PATH: process.env.PATH ?? '' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    createInterface({ input: child.stdout as NonNullable<ChildProcess['stdout']> }).on('line', (line) => {
      known = JSON.parse(line) as typeof known;
      heard.push({ atMs: performance.now(), known });
    });
    await eventually('all have an answer', () => names.every((name) => (known[name] ?? null) !== null));
  });
  afterAll(async () => {
    if (child !== undefined) {
      const ended = new Promise((resolve) => child.once('close', resolve));
      child.kill('SIGKILL');
      await ended;
    }
    server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const addresses = (name: string) => known[name]?.addresses ?? [];
  const firstHeard = (name: string, address: string) => heard.find((one) => one.known[name]?.addresses.includes(address))?.atMs ?? 0;
  const asked = (name: string) => server.questions.filter((question) => question.startsWith(`${name} A `)).length;

  test('every address of an answer is an instance: of both families, and as many as there are, over TCP where they must', () => {
    expect(addresses('many.test')).toEqual([...many].sort());
    expect(server.questions).toContain('many.test A tcp');
    expect(addresses('both.test')).toEqual(['10.3.0.1', 'fd00::3:1']);
  });

  test('a name that does not exist, and one without an address, have none and say so; they are found when they appear', async () => {
    for (const name of ['late.test', 'bare.test']) expect(known[name]).toEqual({ addresses: [], error: 'DNS: no such name' });
    for (const name of ['late.test', 'bare.test']) server.set(name, { addresses: ['10.8.0.1'], ttlS: 60 });
    await eventually('they are there', () => ['late.test', 'bare.test'].every((name) => addresses(name).join() === '10.8.0.1'));
  });

  test('one that exists no more goes; when the server fails or is mute, the last good answer stays', async () => {
    server.set('goes.test', 'unknown');
    server.set('fails.test', 'failing');
    server.set('mute.test', 'mute');
    await eventually('it has gone', () => addresses('goes.test').length === 0);
    await eventually('the failures are said', () => ['fails.test', 'mute.test'].every((name) => (known[name]?.error ?? '') !== ''));
    expect(known['fails.test']).toEqual({ addresses: ['10.6.0.1'], error: expect.stringMatching(/^DNS: /) });
    expect(known['mute.test']?.addresses).toEqual(['10.7.0.1']);
    server.set('mute.test', { addresses: ['10.7.0.2'], ttlS: 60 });
    await eventually('and what it says again counts', () => known['mute.test']?.error === '' && addresses('mute.test')[0] === '10.7.0.2');
  });

  test('an answer is kept as long as it says, and asked for again then; another lifetime counts from then on', async () => {
    const since = firstHeard('long.test', '10.2.0.1');
    server.set('long.test', { addresses: ['10.2.0.2'], ttlS: 60 });
    server.set('short.test', { addresses: ['10.1.0.2'], ttlS: 60 });
    await eventually('the short-lived one is known', () => addresses('short.test')[0] === '10.1.0.2', 4_000);
    await eventually('so is the long-lived one', () => addresses('long.test')[0] === '10.2.0.2', 12_000);
    expect(firstHeard('long.test', '10.2.0.2') - since).toBeGreaterThan(5_000); // its 6 s, though names without a lifetime are asked for each 0.3
    // Questions come in the order in which they are sent: with this answer those for the lifetimes of the two are counted.
    server.set('goes.test', { addresses: ['10.4.0.2'], ttlS: 1 });
    await eventually('others are asked for', () => addresses('goes.test')[0] === '10.4.0.2', 10_000);
    const before = [asked('short.test'), asked('long.test')];
    server.set('goes.test', { addresses: ['10.4.0.3'], ttlS: 1 });
    await eventually('and once more', () => addresses('goes.test')[0] === '10.4.0.3', 10_000);
    expect([asked('short.test'), asked('long.test')]).toEqual(before);
  });
});
