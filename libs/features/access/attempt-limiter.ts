/** How many failures in a row are answered as such before the answer becomes 429, and how fast they are forgiven. */
const BURST = 30;
const FORGIVEN_PER_S = 0.5;
/** Looks into the database for tokens nobody has seen, from all limited addresses together. */
const LOOKS_BURST = 200;
const LOOKS_PER_S = 100;
const MOST_BUCKETS = 10_000;

interface Bucket {
  left: number;
  at: number;
}

/**
 * Counts failed attempts, by address and by token id, in this process alone (so it works without Redis). Only failures count, and a
 * token that verifies is never refused: a good client behind the same address as an attacker goes on as before.
 */
export class AttemptLimiter {
  readonly #failures = new Map<string, Bucket>();
  readonly #looks: Bucket;
  readonly #now: () => number;

  constructor(now: () => number = Date.now) {
    this.#now = now;
    this.#looks = { left: LOOKS_BURST, at: now() };
  }

  /** Counts a failure; answers in how many seconds to come back, or undefined while the limit is not reached. */
  failed(keys: readonly string[]): number | undefined {
    const limited = keys.map((key) => this.#take(this.#bucket(key), BURST, FORGIVEN_PER_S)).includes(false);
    return limited ? Math.ceil(1 / FORGIVEN_PER_S) : undefined;
  }

  /** True when the key has used up its failures. */
  limited(key: string): boolean {
    const bucket = this.#failures.get(key);
    if (bucket === undefined) return false;
    this.#refill(bucket, BURST, FORGIVEN_PER_S);
    return bucket.left < 1;
  }

  /** Asks for one look into the database on behalf of a limited address. */
  mayLook(): boolean {
    return this.#take(this.#looks, LOOKS_BURST, LOOKS_PER_S);
  }

  #bucket(key: string): Bucket {
    const found = this.#failures.get(key) ?? { left: BURST, at: this.#now() };
    this.#failures.delete(key);
    this.#failures.set(key, found); // The map's order is the order of use.
    const [oldest] = this.#failures.keys();
    if (this.#failures.size > MOST_BUCKETS && oldest !== undefined) this.#failures.delete(oldest);
    return found;
  }

  #take(bucket: Bucket, burst: number, perS: number): boolean {
    this.#refill(bucket, burst, perS);
    if (bucket.left < 1) return false;
    bucket.left -= 1;
    return true;
  }

  #refill(bucket: Bucket, burst: number, perS: number): void {
    const now = this.#now();
    bucket.left = Math.min(burst, bucket.left + (Math.max(0, now - bucket.at) / 1000) * perS);
    bucket.at = now;
  }
}
