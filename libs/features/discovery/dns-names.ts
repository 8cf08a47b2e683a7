import { lookup, Resolver } from 'node:dns/promises';

import type { DnsAnswer } from './discovery.js';

interface Entry {
  /** How many services depend on the name. */
  wanted: number;
  answer: DnsAnswer | undefined;
  nextAtMs: number;
  asking: boolean;
  /** The last look was answered, and in time. */
  answers: boolean;
}

const lookupDeadlineMs = 2_000;
const ttlDeadlineMs = 1_000;
/** A lifetime of no time at all is not a wish to be asked without pause, and one of a day none to serve from where a service was yesterday. Seconds. */
const [leastTtlS, mostTtlS] = [1, 60];
/**
 * getaddrinfo runs on Node's four pool threads, and a mute DNS server holds one for ten seconds and more: one is left for files and zlib, and one of the
 * rest for names that are answered, so that nobody's service waits behind another's mute one.
 */
const [mostAtOnce, mostDoubtful] = [3, 2];

/**
 * Names that are looked up by the machine's own rules (hosts file, search domains) and refreshed while somebody wants them: when the answer's lifetime is
 * over, where DNS itself knows the name (those rules do not tell it), otherwise each `refreshMs`. Every address of an answer is an instance.
 * A name that does not exist has no addresses; when the server does not answer, the last good answer stays.
 */
export class DnsNames {
  readonly #entries = new Map<string, Entry>();
  readonly #onChange: () => void;
  readonly #refreshMs: number;
  readonly #lookup: (name: string) => Promise<string[]>;
  readonly #ttl: (name: string) => Promise<number | undefined>;
  #asking = 0;
  #askingDoubtful = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: {
    onChange(): void;
    readonly refreshMs?: number;
    lookup?(name: string): Promise<string[]>;
    /** The lifetime of what DNS says of a name, in seconds; undefined: DNS says nothing of it. */
    ttl?(name: string): Promise<number | undefined>;
  }) {
    this.#onChange = options.onChange;
    this.#refreshMs = options.refreshMs ?? 5_000;
    this.#lookup = options.lookup ?? lookupAll;
    this.#ttl = options.ttl ?? (options.lookup === undefined ? ttlOf : async () => undefined);
  }

  start(): void {
    this.#timer = setInterval(() => this.#askDue(), 250);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#entries.clear();
  }

  answer(name: string): DnsAnswer | undefined {
    return this.#entries.get(name)?.answer;
  }

  /** The name is looked up from now on, and as long as it is wanted by anybody. */
  want(name: string): void {
    const entry = this.#entries.get(name);
    if (entry !== undefined) {
      entry.wanted += 1;
      return;
    }
    const made: Entry = { wanted: 1, answer: undefined, nextAtMs: 0, asking: false, answers: false };
    this.#entries.set(name, made);
    if (this.#mayAsk(made)) void this.#ask(name, made);
  }

  /** One who wanted the name does so no more. What nobody wants is forgotten. */
  unwant(name: string): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    entry.wanted -= 1;
    if (entry.wanted === 0) this.#entries.delete(name);
  }

  #askDue(): void {
    const nowMs = Date.now();
    for (const [name, entry] of this.#entries) {
      if (this.#asking >= mostAtOnce) return;
      if (!entry.asking && entry.nextAtMs <= nowMs && this.#mayAsk(entry)) void this.#ask(name, entry);
    }
  }

  #mayAsk({ answers }: Entry): boolean {
    return this.#asking < mostAtOnce && (answers || this.#askingDoubtful < mostDoubtful);
  }

  async #ask(name: string, entry: Entry): Promise<void> {
    const doubtful = entry.answers ? 0 : 1;
    this.#asking += 1;
    this.#askingDoubtful += doubtful;
    entry.asking = true;
    // Who was asked for last comes last: names that are always due must not keep others from their first look.
    this.#entries.delete(name);
    this.#entries.set(name, entry);
    const before = JSON.stringify(entry.answer);
    let timer: NodeJS.Timeout | undefined;
    try {
      const looking = this.#lookup(name);
      const deadline = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(Object.assign(new Error('no answer in time'), { code: 'ETIMEOUT' })), lookupDeadlineMs);
      });
      // A lookup that is given up still occupies its thread, so its place counts until it ends.
      looking.then(
        () => this.#freed(doubtful),
        () => this.#freed(doubtful),
      );
      entry.answer = { addresses: (await Promise.race([looking, deadline])).sort(), error: '' };
      entry.answers = true;
      void this.#keep(name, entry);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? '';
      const gone = code === 'ENOTFOUND' || code === 'ENODATA';
      entry.answers = gone;
      entry.answer = { addresses: gone ? [] : (entry.answer?.addresses ?? []), error: `DNS: ${gone ? 'no such name' : code || 'failed'}` };
    } finally {
      clearTimeout(timer);
      entry.asking = false;
      entry.nextAtMs = Date.now() + this.#refreshMs * (0.75 + Math.random() / 2);
      if (JSON.stringify(entry.answer) !== before) this.#onChange();
    }
  }

  /** Puts the next look off until what was answered is no longer good. Beside the lookup: an instance is used before it is known for how long. */
  async #keep(name: string, entry: Entry): Promise<void> {
    const ttlS = await this.#ttl(name).catch(() => undefined);
    if (ttlS !== undefined) entry.nextAtMs = Date.now() + Math.min(mostTtlS, Math.max(leastTtlS, ttlS)) * 1_000;
  }

  #freed(doubtful: number): void {
    this.#asking -= 1;
    this.#askingDoubtful -= doubtful;
    this.#askDue();
  }
}

async function lookupAll(name: string): Promise<string[]> {
  return (await lookup(name, { all: true })).map(({ address }) => address);
}

/** The shortest lifetime among a name's addresses. Only whole names are asked for: what a search domain makes of a short one is not known here. */
async function ttlOf(name: string): Promise<number | undefined> {
  if (!name.includes('.')) return undefined;
  const resolver = new Resolver({ timeout: ttlDeadlineMs, tries: 1 });
  const answers = await Promise.allSettled([resolver.resolve4(name, { ttl: true }), resolver.resolve6(name, { ttl: true })]);
  const all = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
  return all.length === 0 ? undefined : Math.min(...all.map(({ ttl }) => ttl));
}
