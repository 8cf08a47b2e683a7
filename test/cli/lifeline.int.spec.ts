import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { beforeAll, expect, test } from '@jest/globals';

import { buildCommand } from './command.fixture.js';

const preload = pathToFileURL(fileURLToPath(new URL('../../dist/apps/cli/src/dev/end-with-supervisor.js', import.meta.url))).href;

beforeAll(buildCommand);

/** Runs a thread for a moment, and then serves ten connections, which get the numbers of descriptors that are free. */
const script = `
  const { createServer, connect } = require('node:net');
  const { Worker } = require('node:worker_threads');
  new Worker(new URL('data:text/javascript,setTimeout(() => {}, 300)')).once('exit', () => {
    let served = 0;
    const server = createServer((socket) => socket.once('data', () => (served += 1) === 10 && console.log('served')));
    server.listen(0, '127.0.0.1', () => {
      for (let i = 0; i < 10; i++) connect(server.address().port, '127.0.0.1').end('x');
    });
  });
  setInterval(() => {}, 1000);`;

test('a process of bin/dev outlives its threads, and ends with its supervisor', async () => {
  const child = spawn(process.execPath, ['--import', preload, '-e', script], { stdio: ['ignore', 'pipe', 'inherit', 'pipe'] });
  const ended = once(child, 'exit');
  const said = await Promise.race([
    once(child.stdout as NodeJS.ReadableStream, 'data').then(String),
    ended.then(([, signal]) => `ended by ${signal}`),
  ]);
  expect(said).toBe('served\n');
  child.stdio[3]?.destroy();
  expect(await ended).toEqual([null, 'SIGTERM']);
});
