import { join } from 'node:path';
import { readCheckedJson, writeCheckedJson } from '#platform/envoy/durable-file.js';
import type { ReleaseStore } from '#platform/envoy/release-store.js';
import { Fence } from '#platform/xds/generated/delivery.js';
import type { Accepted } from './fence.js';
import type { ReleaseName } from './release-files.js';

interface State {
  readonly accepted: (Accepted & { readonly renderSha256: string }) | null;
  readonly applied: ReleaseName | null;
  readonly proven: ReleaseName | null;
}

const NOTHING: State = { accepted: null, applied: null, proven: null };

/**
 * What the agent remembers of itself: the fence, and what was applied and proven last. Written before anything depends on it, but
 * without waiting for the disk, as the accepted release was: when the file is lost or damaged the fence is taken from the names of the releases on disk, which carry it: forgetting it would let old releases in.
 */
export class NodeState {
  readonly #path: string;
  readonly #onFault: (reason: string) => void;
  #state: State;

  constructor(folder: string, store: ReleaseStore, onFault: (reason: string) => void) {
    this.#path = join(folder, 'state');
    this.#onFault = onFault;
    const content = readCheckedJson(this.#path);
    if (content === 'damaged') onFault('the state file is damaged: the fence is taken from the releases on disk');
    this.#state = typeof content === 'object' ? fromJson(content.value) : NOTHING;
    // A release may be on disk that the state does not know: the agent died between the two writes.
    const newest = store.list()[0];
    if (newest !== undefined) this.#raise(newest.key, store);
  }

  get accepted(): State['accepted'] {
    return this.#state.accepted;
  }
  get applied(): ReleaseName | null {
    return this.#state.applied;
  }
  get proven(): ReleaseName | null {
    return this.#state.proven;
  }

  /** Raises the fence to a release that is on the disk already, whose name would tell it again if this were lost. Throws when it cannot be written. */
  accept(accepted: NonNullable<State['accepted']>): void {
    const next = { ...this.#state, accepted };
    this.#write(next);
    this.#state = next;
  }

  /** Raises the fence to a release whose record on the disk is its own: this file follows at the next change. */
  remember(accepted: NonNullable<State['accepted']>): void {
    this.#state = { ...this.#state, accepted };
  }

  /** Remembers what runs. A disk that takes nothing does not stop Envoy from running it. */
  change(part: Partial<Pick<State, 'applied' | 'proven'>>): void {
    this.#state = { ...this.#state, ...part };
    try {
      this.#write(this.#state);
    } catch (error) {
      this.#onFault(`the state could not be written: ${(error as Error).message}`);
    }
  }

  #write(state: State): void {
    const { accepted } = state;
    const json = { ...state, accepted: accepted === null ? null : { ...accepted, fence: Fence.toJSON(accepted.fence) } };
    writeCheckedJson(this.#path, json, { durable: false });
  }

  #raise(key: string, store: ReleaseStore): void {
    const [lineage = 0, term = 0, sequence = 0] = key.split('-').map(Number);
    const known = this.#state.accepted?.fence;
    if (known !== undefined && (lineage - known.lineage || term - known.term || sequence - known.sequence) <= 0) return;
    const manifest = store.read(key)?.manifest;
    const lineageId = manifest?.fence?.lineageId ?? (known?.lineage === lineage ? known.lineageId : '');
    const version = manifest?.version ?? this.#state.accepted?.version ?? 0;
    this.accept({ fence: { lineage, lineageId, term, sequence }, version, renderSha256: manifest?.renderSha256 ?? '' });
  }
}

function fromJson(value: unknown): State {
  const { accepted, applied, proven } = value as {
    accepted: (Record<string, unknown> & { fence: unknown }) | null;
    applied: ReleaseName | null;
    proven: ReleaseName | null;
  };
  if (accepted === null) return { accepted, applied, proven };
  return {
    accepted: { fence: Fence.fromJSON(accepted.fence), version: Number(accepted.version), renderSha256: String(accepted.renderSha256) },
    applied,
    proven,
  };
}
