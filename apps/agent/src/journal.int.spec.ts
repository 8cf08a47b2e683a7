import { mkdtempSync, readdirSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Report } from '#platform/xds/generated/delivery.js';
import { ReportJournal } from './journal.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'chancery-journal-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const report = (step: string) => Report.fromPartial({ releaseId: '1.1.1', step });
const open = (faults: string[] = []) => new ReportJournal(folder, (file) => faults.push(file));
const steps = (journal: ReportJournal) => journal.waiting.map(({ step }) => step);

describe('the journal of reports', () => {
  it('keeps what is not acknowledged over a restart, in order', () => {
    const journal = open();
    const ids = ['accepted', 'validated', 'proven'].map((step) => journal.append(report(step)).id);
    journal.acknowledge(ids[0] ?? 0);
    expect(steps(open())).toEqual(['validated', 'proven']);
  });

  it('never uses a number twice, not even when all are acknowledged', () => {
    const first = open();
    const last = first.append(report('a')).id;
    first.acknowledge(last);
    expect(open().append(report('b')).id).toBeGreaterThan(last);
  });

  it('passes over a torn report and says so', () => {
    const journal = open();
    journal.append(report('a'));
    journal.append(report('b'));
    const torn = readdirSync(folder).find((name) => name.endsWith('01.json')) ?? '';
    truncateSync(join(folder, torn), 70);
    const faults: string[] = [];
    expect(steps(open(faults))).toEqual(['b']);
    expect(faults).toHaveLength(1);
  });
});
