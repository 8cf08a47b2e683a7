import { readFileSync } from 'node:fs';

import type { AnchoredHead, AnchorFault } from '#features/verification/verification.js';

import { type ApiClient, gatewayPath } from './api-client.js';
import { ApiRefusal } from './problem-report.js';
import { UsageError } from './usage-error.js';

/** What an auditor's own copy of the anchors says of the log as the API shows it. */
export interface AnchorCheck {
  readonly ok: boolean;
  readonly file: string;
  /** Anchors (lines) that are whole. */
  readonly count: number;
  readonly lastAt: string | null;
  /** Heads whose hash was compared. */
  readonly compared: number;
  /** Heads of streams that the API shows the newest version of only, and that have moved since. */
  readonly passed: number;
  readonly faults: readonly AnchorFault[];
}

/** The anchors of a file, checked without the API: signatures, and that each line follows the one before it. */
export interface ReadAnchors {
  readonly file: string;
  readonly count: number;
  readonly lastAt: string | null;
  readonly heads: readonly AnchoredHead[];
  readonly faults: readonly AnchorFault[];
}

/** @throws UsageError when the file or the key cannot be read. */
export async function readAnchors(file: string, publicKeyFile: string): Promise<ReadAnchors> {
  const { checkAnchors } = await import('#features/verification/anchor-line.js');
  const { readPublicKey } = await import('#features/verification/anchor-key.js');
  const publicKey = read(publicKeyFile, (bytes) => readPublicKey(bytes));
  const lines = read(file, (bytes) => bytes.toString('utf8')).split('\n');
  lines.pop(); // what follows the last line break is a write under way
  const heads: AnchoredHead[] = [];
  const faults: AnchorFault[] = [];
  let count = 0;
  let lastAt: string | null = null;
  for (const { anchor, fault, line } of checkAnchors(lines, publicKey)) {
    if (fault !== null) faults.push(fault);
    if (anchor === null) continue;
    count += 1;
    lastAt = anchor.time;
    heads.push(...anchor.heads.map((head) => ({ ...head, line, time: anchor.time })));
  }
  return { file, count, lastAt, heads, faults };
}

function read<T>(file: string, use: (bytes: Buffer) => T): T {
  try {
    return use(readFileSync(file));
  } catch (error) {
    throw new UsageError(`${file} cannot be used: ${(error as Error).message}.`);
  }
}

/** A stream's newest version, as the verification shows it. */
export interface ShownHead {
  readonly stream: string;
  readonly version: number;
  readonly hash: string;
}

const AT_ONCE = 8;
const gatewayStream = /^gateway\/(.+)$/;

/**
 * Compares anchored heads with what the API shows: of gateways the version itself, of other streams the newest one of the verification. Without `all`
 * the newest of each stream, which stands for those before it in a chain that verifies.
 */
export async function compareAnchors(
  api: ApiClient,
  anchors: ReadAnchors,
  shown: readonly ShownHead[],
  all: boolean,
): Promise<AnchorCheck> {
  const { AnchorJudgement } = await import('#features/verification/verification.js');
  const judgement = new AnchorJudgement();
  const newest = new Map(anchors.heads.map((head) => [head.stream, head]));
  const heads = all ? anchors.heads : [...newest.values()];
  const current = new Map(shown.map((head) => [head.stream, head]));
  for (const [stream, version] of await gatewayVersions(api)) current.set(stream, { stream, version, hash: '' });
  let passed = 0;
  for (let at = 0; at < heads.length; at += AT_ONCE) {
    const some = heads.slice(at, at + AT_ONCE);
    const recorded = await Promise.all(some.map((head) => recordedHash(api, head, current.get(head.stream))));
    for (const [i, head] of some.entries()) {
      const hash = recorded[i];
      if (hash === undefined) passed += 1;
      else judgement.add(head, { recorded: hash, last: current.get(head.stream)?.version ?? null });
    }
  }
  const faults = [...anchors.faults, ...judgement.faults()];
  const { file, count, lastAt } = anchors;
  return { ok: faults.length === 0, file, count, lastAt, compared: heads.length - passed, passed, faults };
}

async function gatewayVersions(api: ApiClient): Promise<[string, number][]> {
  const { body } = await api.get<{ items: { name: string; version: number }[] }>('/v1/gateways');
  return body.items.map(({ name, version }) => [`gateway/${name}`, version]);
}

/** The hash that the API shows for an anchored version; null when it shows that there is none, undefined when it does not show that version. */
async function recordedHash(api: ApiClient, head: AnchoredHead, current: ShownHead | undefined): Promise<string | null | undefined> {
  if (current === undefined || head.version > current.version) return null;
  const gateway = gatewayStream.exec(head.stream)?.[1];
  if (gateway === undefined) return head.version === current.version ? current.hash : undefined;
  try {
    return (await api.get<{ hash: string }>(gatewayPath(gateway, 'versions', head.version))).body.hash;
  } catch (error) {
    if (error instanceof ApiRefusal && error.httpStatus === 404) return null;
    throw error;
  }
}
