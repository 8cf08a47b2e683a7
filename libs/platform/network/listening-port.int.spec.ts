import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';

import { expect, test } from '@jest/globals';

import { describePortOwner, findFreePort, findPortOwner, probePort } from './listening-port.js';

test('a port of this process: taken, by its pid and command, and free again afterwards', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  expect(await probePort(port)).toBe('taken');
  const owner = findPortOwner(port);
  expect(owner).toMatchObject({ pid: process.pid, uid: process.getuid?.() });
  expect(describePortOwner(owner)).toMatch(new RegExp(`^process ${process.pid} \\(.*node.*\\)$`));
  server.close();
  await once(server, 'close');
  expect(await probePort(port)).toBe('free');
  expect(findPortOwner(port)).toEqual({ pid: undefined, command: undefined, uid: undefined });
});

test("another process' port, on IPv6 too", async () => {
  const script = "const s = require('net').createServer().listen(0, '::', () => console.log(s.address().port))";
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const [line] = await once(child.stdout, 'data');
    expect(findPortOwner(Number(String(line)))).toMatchObject({ pid: child.pid, command: expect.stringContaining('createServer') });
  } finally {
    child.kill('SIGKILL');
  }
});

test('an owner that cannot be seen is said to be one', () => {
  expect(describePortOwner({ pid: undefined, command: undefined, uid: 0 })).toBe("another user's process (user id 0)");
  expect(describePortOwner({ pid: undefined, command: undefined, uid: undefined })).toBe('a process that this user cannot see');
});

test('a free port is free, and none of those that are spoken for', async () => {
  const port = await findFreePort(new Set());
  expect(await probePort(port)).toBe('free');
  expect(await findFreePort(new Set([port]))).not.toBe(port);
});
