import { setTimeout as pause } from 'node:timers/promises';
import { askCertificate, certificateProbeOf } from '#platform/envoy/certificate-probe.js';
import { type Proof, requestBytes, send } from '#platform/envoy/proof.js';
import { askable, type Unproven } from './unproven.js';

/** One path of a proof. */
export interface PlannedProbe {
  readonly path: string;
  /** What may be seen: the body of the release that is proven, or of any later one. */
  readonly bodies: Set<string>;
  /** Right answers on new connections in a row that are wanted. */
  readonly answers: number;
}

/** Requests of a whole proof, about: a tenth of a second of a quiet machine. */
const BUDGET = 300;
/** Fewer would not find the worker thread that lags behind. */
const LEAST_ANSWERS = 3;
/** Questions at a time. */
const LANES = 4;
/** Between two looks at a path that does not answer right yet. */
const AGAIN_MS = 2;

/**
 * What to ask for: every path when they are few, a sample that is spread over all of them when they are many; of certificates and of shards each its own. The marker alone, as often as `answers`, when
 * nothing else changed; beside other paths it only shows that this is the right node.
 */
export function planProbes(
  probes: ReadonlyMap<string, string>,
  marker: { readonly path: string; readonly body: string },
  answers: number,
): readonly PlannedProbe[] {
  const certificates = [...probes].filter(([path]) => certificateProbeOf(path) !== undefined);
  const shards = [...probes].filter(([path]) => certificateProbeOf(path) === undefined);
  const most = Math.max(1, Math.floor(BUDGET / LEAST_ANSWERS));
  const fewest = Math.floor(most / 2);
  const sample = [
    ...spread(certificates, Math.max(fewest, most - shards.length)),
    ...spread(shards, Math.max(fewest, most - certificates.length)),
  ];
  const each = Math.min(answers, Math.max(LEAST_ANSWERS, Math.floor(BUDGET / Math.max(1, sample.length))));
  const chosen = sample.map(([path, body]) => ({ path, bodies: new Set([body]), answers: each }));
  return [...chosen, { path: marker.path, bodies: new Set([marker.body]), answers: chosen.length === 0 ? answers : LEAST_ANSWERS }];
}

/** At most so many, from all over the list. */
function spread<T>(list: readonly T[], most: number): readonly T[] {
  return list.length <= most
    ? list
    : list.filter((_, i) => Math.floor((i * most) / list.length) !== Math.floor(((i - 1) * most) / list.length));
}

/** One proof under way. */
export class LiveProof {
  readonly #plan: readonly PlannedProbe[];
  readonly #dropped = new Set<PlannedProbe>();

  constructor(plan: readonly PlannedProbe[]) {
    this.#plan = plan;
  }

  /** A later release is on its way to Envoy: what it brings may be seen as well, and proves what was before it. */
  follow({ probes, release }: Unproven, marker: string): void {
    const bodies = askable(probes);
    for (const probe of this.#plan) {
      const body = probe.path === marker ? release.marker : bodies.get(probe.path);
      if (body !== undefined) probe.bodies.add(body);
      else if (isGone(probe.path, probes)) this.#dropped.add(probe);
    }
  }

  /** Asks until every path has given its right answers in a row, `timeoutMs` have passed, or `abandoned` says so. */
  async run(options: Reach & { readonly timeoutMs: number; readonly abandoned: () => boolean }): Promise<Proof> {
    const startedAt = performance.now();
    const state = { requests: 0, seen: 'nothing was asked', missing: false };
    const waiting = [...this.#plan];
    const over = () => performance.now() - startedAt >= options.timeoutMs || state.missing;
    const lane = async () => {
      for (let probe = waiting.shift(); probe !== undefined; probe = waiting.shift()) {
        if (!(await this.#prove(probe, options, state, over))) state.missing = true;
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
    const { requests, seen } = state;
    const durationMs = performance.now() - startedAt;
    return state.missing ? { proven: false, requests, durationMs, seen } : { proven: true, requests, durationMs };
  }

  async #prove(
    probe: PlannedProbe,
    { abandoned, ...reach }: Reach & { readonly abandoned: () => boolean },
    state: { requests: number; seen: string },
    over: () => boolean,
  ): Promise<boolean> {
    const question = questionOf(probe.path, reach);
    for (let inARow = 0; inARow < probe.answers; ) {
      if (this.#dropped.has(probe)) return true;
      if (over()) return false;
      const { body, seen } = await question();
      state.requests += 1;
      if (body !== null && probe.bodies.has(body)) {
        inARow += 1;
        continue;
      }
      inARow = 0;
      state.seen = `${probe.path}: ${seen}`;
      // Not asked after right answers: who gives them lives, and to look each time would cost half as much as they do.
      if (abandoned()) return false;
      await pause(AGAIN_MS);
    }
    return true;
  }
}

interface Reach {
  readonly host: string;
  readonly port: number;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * How a path is asked, each time on a new connection; made once, however often it is asked. `body` is null when what came is no answer, and `seen` says what
 * it was instead.
 */
function questionOf(path: string, reach: Reach): () => Promise<{ readonly body: string | null; readonly seen: string }> {
  const certificate = certificateProbeOf(path);
  if (certificate !== undefined) {
    return async () => {
      const { fingerprint, seen } = await askCertificate(certificate);
      return { body: fingerprint, seen };
    };
  }
  const request = requestBytes({ ...reach, path });
  return async () => {
    const { status, body } = await send(reach, request);
    const seen = `${status === null ? '' : `status ${status}: `}${body.slice(0, 200)}`;
    return { body: status === 200 ? body : null, seen };
  };
}

function isGone(path: string, probes: ReadonlyMap<string, string>): boolean {
  return probes.get(`/${path.slice(path.lastIndexOf('/') + 1)}`) === '';
}
