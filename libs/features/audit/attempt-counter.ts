import { type AttemptCount, type CountedSource, sumOf } from './audit.js';

/** So many attempts a minute are recorded one by one, by token; the rest of the minute is counted. */
const RECORDED_A_MINUTE = 60;
/** Addresses are anybody's to choose: beyond so many at once they are counted together. */
const MOST_ADDRESSES = 200;
/** And so many minutes of them, while the database is away. */
const MOST_WAITING = 1_000;
const OTHERS = 'others';

/** Counts refused attempts in the memory of this process, until they are taken to be recorded. `now` is in ms since 1970. */
export class AttemptCounter {
  readonly #now: () => number;
  readonly #waiting = new Map<string, { source: string; minute: string; counts: AttemptCount[] }>();
  readonly #seen = new Map<string, number>();
  #minute = '';
  #addresses = 0;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /** True while this one of the source's minute is to be recorded by itself. */
  mayRecord(source: string): boolean {
    const minute = this.#minuteNow();
    if (minute !== this.#minute) {
      this.#minute = minute;
      this.#seen.clear();
    }
    const seen = (this.#seen.get(source) ?? 0) + 1;
    this.#seen.set(source, seen);
    return seen <= RECORDED_A_MINUTE;
  }

  /** Counts one. `isAnonymous`: the source is an address, of which there may be any number. */
  count(source: string, attempt: { readonly status: number; readonly code: string }, isAnonymous: boolean): void {
    const minute = this.#minuteNow();
    const isKept =
      this.#waiting.has(`${source} ${minute}`) || (this.#waiting.size < MOST_WAITING && (!isAnonymous || this.#addresses < MOST_ADDRESSES));
    if (isKept) this.#add({ source, minute, counts: [{ ...attempt, count: 1 }] }, isAnonymous);
    else this.#add({ source: OTHERS, minute, counts: [{ ...attempt, count: 1 }] }, false);
  }

  /** Everything counted, which is then this caller's to record. */
  take(): CountedSource[] {
    const taken = [...this.#waiting.values()];
    this.#waiting.clear();
    this.#addresses = 0;
    return taken;
  }

  #add({ source, minute, counts }: CountedSource, isAddress: boolean): void {
    const key = `${source} ${minute}`;
    const found = this.#waiting.get(key);
    if (found !== undefined) {
      found.counts = sumOf([...found.counts, ...counts]);
      return;
    }
    if (isAddress) this.#addresses += 1;
    this.#waiting.set(key, { source, minute, counts: [...counts] });
  }

  #minuteNow(): string {
    return `${new Date(this.#now()).toISOString().slice(0, 16)}Z`;
  }
}
