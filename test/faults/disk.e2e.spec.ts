import { execFileSync } from 'node:child_process';
import {
  closeSync,
  cpSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

import { afterEach, expect, jest, test } from '@jest/globals';

import { scanFrames } from '#platform/envoy/live-frame.js';

import { FaultHouse } from './fault-house.js';
import type { FaultNode } from './fault-node.js';

jest.setTimeout(120_000);

let house: FaultHouse;
afterEach(() => house?.close());

test('F24: an agent that was dead for many versions comes back with its old disk; nothing goes back, and it has the newest', async () => {
  house = await FaultHouse.start({ nodes: ['a', 'b'] });
  house.startTraffic();
  await house.fault('the agent of a is dead', async () => {
    await house.node('a').agent?.kill();
    for (let i = 0; i < 10; i++) await house.write();
    await house.converged(house.revision, { nodes: ['b'] });
    house.node('a').startAgent();
  });
  await house.converged(house.revision);
  await house.converged(await house.write());
  expect((await house.finish()).violations).toEqual([]);
});

test('F24: agent and Envoy dead, the worker unreachable: the node begins with what its disk has, and then gets the newest', async () => {
  house = await FaultHouse.start();
  const old = house.revision;
  const node = house.node('a');
  await node.agent?.kill();
  await node.killEnvoys();
  await house.write();
  node.line.set('cut');
  node.startAgent();
  await house.until('it serves from its disk', async () => (await house.served('a')) === old);
  house.startTraffic();
  node.line.set('pass');
  await house.converged(house.revision);
  expect((await house.finish()).violations).toEqual([]);
});

test('F24: a node whose disk was set back to an older copy gets the newest, and takes nothing that is older than what it has', async () => {
  house = await FaultHouse.start();
  const node = house.node('a');
  await house.converged(await house.write());
  await node.agent?.kill();
  await node.killEnvoys();
  const copy = `${node.folder}.copy`;
  cpSync(node.folder, copy, { recursive: true });
  node.startAgent();
  for (let i = 0; i < 3; i++) await house.converged(await house.write());
  await node.agent?.kill();
  await node.killEnvoys();
  rmSync(node.folder, { recursive: true });
  renameSync(copy, node.folder);
  node.startAgent();
  await house.converged(house.revision);
  house.startTraffic();
  await house.converged(await house.write());
  // What it served while it was set back was on its disk; the order of what it took in is what counts.
  expect((await house.finish()).violations.filter(({ invariant }) => invariant !== 'I9')).toEqual([]);
});

/** The newest segment of the node's live store, and where its last release stands in it. */
function lastRelease(node: FaultNode): { file: string; at: number; length: number } {
  const folder = join(node.folder, 'live');
  const newest = Math.max(...readdirSync(folder).flatMap((name) => Number(/^(\d+)\.segment$/.exec(name)?.[1] ?? Number.NaN) || []));
  const file = readdirSync(folder).find((name) => Number.parseInt(name, 10) === newest && name.endsWith('.segment')) ?? '';
  const frames = [...scanFrames(readFileSync(join(folder, file)), () => undefined)].filter(({ kind }) => kind === 'release');
  const last = frames.at(-1);
  if (last === undefined) throw new Error('the node has no release on its disk');
  return { file: join(folder, file), at: last.at, length: last.length };
}

function flipByte(file: string, at: number): void {
  const byte = readFileSync(file)[at] ?? 0;
  const fd = openSync(file, 'r+');
  writeSync(fd, Buffer.from([byte ^ 0x40]), 0, 1, at);
  closeSync(fd);
}

const damages: readonly [string, (node: FaultNode) => void][] = [
  ['a flipped bit in the last release', (node) => flipByte(lastRelease(node).file, lastRelease(node).at + 5)],
  [
    'a last release that is torn off',
    (node) => truncateSync(lastRelease(node).file, lastRelease(node).at + Math.floor(lastRelease(node).length / 2)),
  ],
  ['garbage behind the last release', (node) => writeFileSync(lastRelease(node).file, Buffer.alloc(5_000, 0xa5), { flag: 'a' })],
];

test.each(damages)(
  'F25: %s: the node begins with a release that is whole, without any worker, and then gets the newest',
  async (_name, damage) => {
    house = await FaultHouse.start();
    for (let i = 0; i < 3; i++) await house.converged(await house.write());
    const node = house.node('a');
    await house.until('the last one is proven', async () => {
      const { desiredVersion, provenVersion } = await house.target('a');
      return desiredVersion === provenVersion;
    });
    await node.agent?.kill();
    await node.killEnvoys();
    damage(node);
    node.line.set('cut');
    node.startAgent();
    await house.until('it serves from its disk', async () => (await house.served('a')) !== undefined);
    const begunWith = (await house.served('a')) ?? 0;
    expect(begunWith).toBeGreaterThanOrEqual(house.revision - 1);
    house.startTraffic();
    node.line.set('pass');
    await house.converged(house.revision);
    await house.converged(await house.write());
    // Envoy began anew with what was whole on the disk, which may be older than what it had served before: I9 is of Envoys that live.
    expect((await house.finish()).violations.filter(({ invariant }) => invariant !== 'I9')).toEqual([]);
  },
);

/** As a full disk: every write to a file fails. The limit is the process' own, so it needs no right. */
function limitFiles(node: FaultNode, bytes: string): void {
  execFileSync('prlimit', ['--pid', String(node.agent?.pid), `--fsize=${bytes}:`]);
}

test('F25: a disk that takes nothing: the node serves on, says so, and takes up where it was when there is room', async () => {
  house = await FaultHouse.start({ nodes: ['a', 'b'] });
  house.startTraffic();
  const node = house.node('a');
  await house.fault('the disk of a is full', async () => {
    limitFiles(node, '0');
    for (let i = 0; i < 3; i++) await house.converged(await house.write(), { nodes: ['b'] });
    limitFiles(node, 'unlimited');
  });
  await house.converged(await house.write());
  expect(node.agent?.isRunning).toBe(true);
  expect((await house.finish()).violations).toEqual([]);
});
