import { randomUUID } from 'node:crypto';

/**
 * What one writer asked for and what it was told: the history that the invariants are checked against (I1). `unknown` is an outcome that may or may
 * not have happened (a timeout, a reset, a 5xx); it is never counted as a failure.
 */
export interface Attempt {
  readonly key: string;
  readonly path: string;
  readonly revision: number;
  outcome: 'accepted' | 'refused' | 'unknown';
  /** The gateway version that the answer named. */
  version: number | undefined;
  sends: number;
}

export interface Writer {
  readonly attempts: readonly Attempt[];
  /** The highest revision that was accepted. */
  readonly accepted: number;
  /** Writes the next revision and sends it again, with the same Idempotency-Key, until its outcome is known or the deadline passes. */
  writeNext(deadlineMs: number): Promise<Attempt>;
}

/**
 * A writer of one mapping, whose rewrite carries a revision that only goes up: `/canary/` is rewritten to `/revision-<n>/`, so that the upstream's echo
 * tells which revision a client was served.
 */
export function createWriter(options: { readonly api: () => string; readonly token: () => string; readonly service: string }): Writer {
  const attempts: Attempt[] = [];
  let revision = 0;
  return {
    attempts,
    get accepted() {
      return attempts.reduce((highest, attempt) => (attempt.outcome === 'accepted' ? Math.max(highest, attempt.revision) : highest), 0);
    },
    async writeNext(deadlineMs) {
      revision += 1;
      const attempt: Attempt = {
        key: randomUUID(),
        path: '/v1/gateways/default/mappings/canary',
        revision,
        outcome: 'unknown',
        version: undefined,
        sends: 0,
      };
      attempts.push(attempt);
      const end = performance.now() + deadlineMs;
      while (attempt.outcome === 'unknown' && performance.now() < end) {
        await send(options, attempt);
        if (attempt.outcome === 'unknown') await new Promise((resolve) => setTimeout(resolve, 50)); // a retry's pause, not a wait for a state
      }
      return attempt;
    },
  };
}

async function send(options: { api: () => string; token: () => string; service: string }, attempt: Attempt): Promise<void> {
  attempt.sends += 1;
  try {
    const answer = await fetch(`${options.api()}${attempt.path}`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${options.token()}`, 'content-type': 'application/json', 'idempotency-key': attempt.key },
      body: JSON.stringify({ prefix: '/canary/', service: options.service, rewrite: `/revision-${attempt.revision}/` }),
      signal: AbortSignal.timeout(5_000),
    });
    await answer.arrayBuffer();
    if (answer.status >= 500 || answer.status === 429) return;
    attempt.outcome = answer.ok ? 'accepted' : 'refused';
    if (answer.ok) attempt.version = Number(answer.headers.get('chancery-version'));
  } catch {
    // no answer: the outcome stays unknown and the same key is sent again
  }
}
