import { request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

import type { Child } from './child.js';
import { DevError } from './dev-error.js';

/** One thing that must be true before the system is called ready. `missing` answers undefined when it is, else what is still wanting. */
export interface ReadinessCheck {
  readonly name: string;
  missing(): Promise<string | undefined>;
}

const LOOK_EVERY_MS = 50;
const ASK_DEADLINE_MS = 2_000;

/**
 * Waits until every check holds. Each is asked until it is true once; what holds is not asked again.
 * @throws DevError `not_ready` at the deadline, naming what is missing.
 */
export async function untilReady(
  checks: readonly ReadinessCheck[],
  options: { deadlineMs: number; aborted(): boolean; onDone(name: string): void; logs: string },
): Promise<void> {
  const end = performance.now() + options.deadlineMs;
  let open = checks.map((check) => ({ check, reason: 'not asked yet' }));
  while (open.length > 0 && !options.aborted()) {
    const answers = await Promise.all(open.map(async ({ check }) => ({ check, reason: await check.missing() })));
    for (const { check, reason } of answers) if (reason === undefined) options.onDone(check.name);
    open = answers.filter((answer): answer is { check: ReadinessCheck; reason: string } => answer.reason !== undefined);
    if (open.length > 0 && performance.now() > end) {
      const list = open.map(({ check, reason }) => `${check.name}: ${reason}`).join('; ');
      throw new DevError(
        'not_ready',
        `Not ready within ${options.deadlineMs / 1000} s. Missing: ${list}.`,
        `Read the logs in ${options.logs}, then run the same command again: it resumes.`,
      );
    }
    await sleep(LOOK_EVERY_MS);
  }
}

/** The child has said that it is ready, and still runs. */
export function childIsReady(child: Child): ReadinessCheck {
  return {
    name: child.spec.name,
    missing: async () =>
      child.state === 'running' ? undefined : `${child.state}${child.deaths > 0 ? `, died ${child.deaths} times` : ''}`,
  };
}

/** GET answers with the status 200. */
export function answers(name: string, url: string): ReadinessCheck {
  return {
    name,
    missing: async () => {
      const answer = await getJson(url);
      return answer.status === 200 ? undefined : `${url} answers ${answer.status === 0 ? 'nothing' : answer.status}`;
    },
  };
}

/** The target's Envoy has proven, through its data plane, the version that it should have. */
export function targetIsProven(url: string, token: string): ReadinessCheck {
  return {
    name: 'envoy',
    missing: async () => {
      const { status, body } = await getJson(url, token);
      if (status !== 200) return `the API does not know the target yet (${status})`;
      const { desiredVersion, provenVersion, error } = body as { desiredVersion?: number; provenVersion?: number; error?: string };
      if (desiredVersion !== undefined && provenVersion !== undefined && provenVersion >= desiredVersion && provenVersion > 0)
        return undefined;
      return `version ${desiredVersion} is not proven through Envoy yet (proven: ${provenVersion})${error ? `: ${error}` : ''}`;
    },
  };
}

/** One small GET with a deadline, on a connection of its own. Status 0: no answer. */
function getJson(url: string, token?: string): Promise<{ status: number; body: unknown }> {
  return new Promise((resolve) => {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const asked = request(url, { headers, agent: false, timeout: ASK_DEADLINE_MS }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: parse(body) }));
      response.on('error', () => resolve({ status: 0, body: undefined }));
    });
    asked.on('timeout', () => asked.destroy(new Error('no answer in time')));
    asked.on('error', () => resolve({ status: 0, body: undefined })); // refused, reset or late: to a readiness check they are the same
    asked.end();
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
