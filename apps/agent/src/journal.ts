import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readCheckedJson, writeCheckedJson } from '#platform/envoy/durable-file.js';
import { Report } from '#platform/xds/generated/delivery.js';

/**
 * Steps after which a release is settled: on the disk before they are told. The steps on the way there survive the agent's death as
 * well, and only a machine that loses its power may forget them; waiting for the disk at each would cost a tenth of a hot restart.
 */
const LASTING = new Set(['proven', 'refused', 'failed', 'superseded', 'recovered', 'cut']);

/** Numbers are reserved on disk in blocks, so that none is used twice even when the machine loses its power. */
const BLOCK = 1000;

/**
 * The reports that no worker has acknowledged yet, one file each. A report is written before anybody hears of it, and stays until it is
 * acknowledged: what was done to an Envoy is known in the end, whoever died in between.
 */
export class ReportJournal {
  readonly #folder: string;
  readonly #onFault: (file: string, reason: string) => void;
  readonly #waiting = new Map<number, Report>();
  #next: number;
  #reserved: number;

  constructor(folder: string, onFault: (file: string, reason: string) => void) {
    this.#folder = folder;
    this.#onFault = onFault;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const counter = readCheckedJson(join(folder, 'reserved'));
    const names = readdirSync(folder).filter((name) => /^\d+\.json$/.test(name));
    const ids = names.map((name) => Number.parseInt(name, 10)).sort((a, b) => a - b);
    this.#reserved = Math.max(typeof counter === 'object' ? Number(counter.value) : 0, ids.at(-1) ?? 0);
    this.#next = this.#reserved + 1;
    for (const id of ids) {
      const content = readCheckedJson(this.#path(id));
      if (typeof content === 'object') this.#waiting.set(id, Report.fromJSON(content.value));
      else onFault(this.#path(id), 'it is damaged');
    }
  }

  /** Reports that are not acknowledged, oldest first. */
  get waiting(): readonly Report[] {
    return [...this.#waiting.values()];
  }

  /** Gives the report its number and writes it down. On a disk that takes nothing it is kept in memory alone, which is told. */
  append(report: Omit<Report, 'id'>, { lasting = LASTING.has(report.step) }: { lasting?: boolean } = {}): Report {
    const numbered: Report = { ...report, id: this.#next };
    this.#next += 1;
    this.#waiting.set(numbered.id, numbered);
    try {
      if (numbered.id > this.#reserved) {
        writeCheckedJson(join(this.#folder, 'reserved'), numbered.id + BLOCK - 1);
        this.#reserved = numbered.id + BLOCK - 1;
      }
      writeCheckedJson(this.#path(numbered.id), Report.toJSON(numbered), { durable: lasting });
    } catch (error) {
      this.#onFault(this.#path(numbered.id), (error as Error).message);
    }
    return numbered;
  }

  acknowledge(id: number): void {
    if (this.#waiting.delete(id)) rmSync(this.#path(id), { force: true });
  }

  #path(id: number): string {
    return join(this.#folder, `${String(id).padStart(12, '0')}.json`);
  }
}
