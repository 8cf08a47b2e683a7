import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';

import { ping } from './docker-engine.js';

const folder = mkdtempSync(join(tmpdir(), 'chancery-engine-spec-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const behaviours: [string, RequestListener, boolean][] = [
  ['an engine', (request, response) => void response.end(request.url === '/_ping' ? 'OK' : 'what?'), true],
  ['another server', (_, response) => void response.end('<html>'), false],
  ['an engine that refuses us', (_, response) => void response.writeHead(403).end('OK'), false],
  ['one that never answers', () => undefined, false],
];

test.each(behaviours)('%s on a socket', async (name, listener, answers) => {
  const socketPath = join(folder, `${behaviours.findIndex(([other]) => other === name)}.sock`);
  const server = createServer(listener);
  await new Promise<void>((done) => server.listen(socketPath, done));
  try {
    expect(await ping({ socketPath }, 300)).toBe(answers);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test('nobody there', async () => {
  expect(await ping({ socketPath: join(folder, 'none.sock') })).toBe(false);
  expect(await ping({ host: '127.0.0.1', port: 1 })).toBe(false);
});
