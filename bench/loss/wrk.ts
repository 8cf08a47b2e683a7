import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { systemBinary } from '../peers/contender.js';

/** What wrk says of the same time: an independent client on kept connections. Null where it is not installed. */
export interface WrkTotals {
  readonly requests: number;
  readonly connect: number;
  readonly read: number;
  readonly write: number;
  readonly timeout: number;
  readonly wrongStatus: number;
}

/** Starts wrk on all paths in turn, slowed down by a pause on each connection: it knows no rate. */
export function startWrk({
  folder,
  url,
  paths,
  seconds,
}: {
  folder: string;
  url: string;
  paths: readonly string[];
  seconds: number;
}): Promise<WrkTotals | null> {
  const binary = systemBinary('wrk');
  if (binary === undefined) return Promise.resolve(null);
  const script = join(folder, 'wrk.lua');
  writeFileSync(
    script,
    `local paths, at = {${paths.map((path) => `"${path}"`).join(', ')}}, 0
function request() at = at % #paths + 1; return wrk.format("GET", paths[at], {["Host"] = "bench.test"}) end
function delay() return 20 end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("TOTALS %d %d %d %d %d %d\\n", summary.requests, e.connect, e.read, e.write, e.timeout, e.status))
end
`,
  );
  const child = spawn(binary, ['-t', '1', '-c', '8', '-d', `${Math.ceil(seconds)}s`, '--timeout', '10s', '-s', script, url], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  process.once('exit', () => child.kill('SIGKILL'));
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => {
      const numbers = /^TOTALS (.*)$/m.exec(text)?.[1]?.split(' ').map(Number);
      if (numbers === undefined) return reject(new Error(`wrk said: ${text}`));
      const [requests = 0, connect = 0, read = 0, write = 0, timeout = 0, wrongStatus = 0] = numbers;
      resolve({ requests, connect, read, write, timeout, wrongStatus });
    });
  });
}
