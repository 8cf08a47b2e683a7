import { existsSync } from 'node:fs';
import { request } from 'node:http';
import { homedir } from 'node:os';

import { type EngineAddress, engineAddresses } from './choose-postgres.js';

const PATIENCE_MS = 1_000; // for one address; a socket that nobody serves answers at once

/** Whether a Docker engine answers `GET /_ping` on this machine. Costs nothing where there is no socket and no DOCKER_HOST. */
export async function engineAnswers(): Promise<boolean> {
  for (const address of engineAddresses(process.env, homedir(), existsSync)) if (await ping(address)) return true;
  return false;
}

/** An engine says "OK"; whatever else listens there, or nobody, is none. */
export function ping(address: EngineAddress, patienceMs = PATIENCE_MS): Promise<boolean> {
  return new Promise((done) => {
    const asked = request({ ...address, path: '/_ping', agent: false, signal: AbortSignal.timeout(patienceMs) }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
        if (text.length > 100) response.destroy();
      });
      response.on('close', () => done(response.statusCode === 200 && text.trim() === 'OK'));
      response.on('error', () => undefined); // close follows
    });
    asked.on('error', () => done(false));
    asked.end();
  });
}
