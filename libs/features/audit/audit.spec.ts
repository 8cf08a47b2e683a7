import { describe, expect, it } from '@jest/globals';

import type { View } from '#platform/eventstore/event-store.js';
import type { JsonObject } from '#platform/kernel/json.js';

import { AttemptCounter } from './attempt-counter.js';
import { keptPointers, namedBy, recordAttempt, recordCounts, sumOf } from './audit.js';
import { csvCell, csvHeading, csvLine, ndjsonLine } from './audit-text.js';
import { type AuditRow, wordsQuery } from './audit-trail.table.js';

const viewOf = (states: Readonly<Record<string, JsonObject>>): View => ({
  streamVersion: 1,
  subject: (subject) => {
    const state = states[subject] ?? null;
    return { subject, version: state === null ? 0 : 1, streamVersion: 1, schemaVersion: 1, state, recordedAt: null };
  },
});

describe('what an address names', () => {
  it.each([
    ['/v1/gateways/:gateway/mappings/:mapping', { gateway: 'edge', mapping: 'user' }, 'edge', 'mapping/user'],
    ['/v1/gateways/:gateway/mappings', { gateway: 'edge' }, 'edge', null],
    ['/v1/gateways/:gateway/settings', { gateway: 'edge' }, 'edge', 'gateway'],
    ['/v1/gateways/:gateway/versions/:version', { gateway: 'edge', version: '7' }, 'edge', null],
    ['/v1/tokens/:token', { token: '0123456789abcdef' }, null, 'token/0123456789abcdef'],
    ['/v1/gateways', {}, null, null],
    ['/ambassador/mapping/:name', { name: 'user' }, 'default', 'mapping/user'],
    ['/ambassador/principal/:name', { name: 'alice' }, 'default', 'principal/alice'],
    ['', {}, null, null],
    // What is no name is somebody's text, and a token is never kept.
    ['/v1/tokens/:token', { token: `chy_0123456789abcdef_${'a'.repeat(43)}` }, null, null],
    ['/v1/gateways/:gateway/mappings/:mapping', { gateway: 'a b', mapping: '../x' }, null, null],
    ['/v1/gateways/:gateway/mappings/:mapping', { gateway: 'x'.repeat(129), mapping: '' }, null, null],
  ])('is, of %j with %j, %j and %j', (route, parameters, gateway, subject) => {
    expect(namedBy(route, parameters as unknown as Record<string, string>)).toEqual({ gateway, subject });
  });
});

describe('recording refusals', () => {
  it('keeps ten pointers, short ones, and no token in them', () => {
    const pointers = keptPointers([
      `/labels/chy_0123456789abcdef_${'a'.repeat(43)}`,
      `/${'x'.repeat(500)}`,
      ...Array.from({ length: 20 }, (_, i) => `/${i}`),
    ]);
    expect(pointers).toHaveLength(10);
    expect(pointers[0]).toBe('/labels/chy_[redacted]');
    expect(pointers[1]).toHaveLength(200);
  });

  it('is an event of its own for each attempt', () => {
    const state = {
      method: 'GET',
      route: '/',
      gateway: null,
      subject: null,
      status: 403,
      code: 'c',
      pointers: [],
      requestId: 'r',
      commandId: null,
      dryRun: false,
    };
    expect(recordAttempt('1', state)(viewOf({}))).toEqual({
      events: [{ type: 'AttemptRefused', schemaVersion: 1, subject: 'attempt/1', state }],
      details: null,
    });
  });

  it('adds counts to those of the minute, and says in the record what it added', () => {
    const counted = { source: 'token/a', minute: 'm', counts: [{ status: 409, code: 'x', count: 2 }] };
    const first = recordCounts([counted])(viewOf({}));
    expect(first.details).toEqual({ attempts: 2, status: 409, code: 'x' });
    const before = first.events[0]?.state as JsonObject;
    expect(before).toEqual({ source: 'token/a', minute: 'm', total: 2, counts: [{ status: 409, code: 'x', count: 2 }] });
    const more = {
      ...counted,
      counts: [
        { status: 409, code: 'x', count: 1 },
        { status: 422, code: 'y', count: 5 },
      ],
    };
    const second = recordCounts([more])(viewOf({ 'flood/token/a/m': before }));
    expect(second.details).toEqual({ attempts: 6 });
    expect(second.events).toMatchObject([
      {
        type: 'AttemptsCounted',
        subject: 'flood/token/a/m',
        state: {
          total: 8,
          counts: [
            { code: 'x', count: 3 },
            { code: 'y', count: 5 },
          ],
        },
      },
    ]);
  });

  it('sums by status and code', () => {
    expect(sumOf([])).toEqual([]);
    expect(
      sumOf([
        { status: 2, code: 'b', count: 1 },
        { status: 1, code: 'a', count: 1 },
        { status: 2, code: 'b', count: 4 },
      ]),
    ).toEqual([
      { status: 1, code: 'a', count: 1 },
      { status: 2, code: 'b', count: 5 },
    ]);
  });
});

describe('counting attempts', () => {
  const at = Date.parse('2026-11-25T17:05:30Z');

  it('leaves sixty a minute and source to be recorded one by one', () => {
    let now = at;
    const counter = new AttemptCounter(() => now);
    const allowed = () => Array.from({ length: 100 }, () => counter.mayRecord('token/a')).filter(Boolean).length;
    expect([allowed(), allowed()]).toEqual([60, 0]);
    expect(counter.mayRecord('token/b')).toBe(true);
    now += 60_000;
    expect(allowed()).toBe(60);
  });

  it('counts by source and minute, and gives what it counted once', () => {
    let now = at;
    const counter = new AttemptCounter(() => now);
    for (let i = 0; i < 3; i++) counter.count('address/a', { status: 401, code: 'token_missing' }, true);
    now += 60_000;
    counter.count('address/a', { status: 429, code: 'attempts_exceeded' }, true);
    expect(counter.take()).toEqual([
      { source: 'address/a', minute: '2026-11-25T17:05Z', counts: [{ status: 401, code: 'token_missing', count: 3 }] },
      { source: 'address/a', minute: '2026-11-25T17:06Z', counts: [{ status: 429, code: 'attempts_exceeded', count: 1 }] },
    ]);
    expect(counter.take()).toEqual([]);
  });

  it('counts more than 200 addresses together, and loses none', () => {
    const counter = new AttemptCounter(() => at);
    for (let i = 0; i < 5_000; i++) counter.count(`address/${i}`, { status: 401, code: 'token_missing' }, true);
    counter.count('token/a', { status: 429, code: 'x' }, false);
    const taken = counter.take();
    expect(taken).toHaveLength(202);
    expect(taken.flatMap(({ counts }) => counts).reduce((sum, { count }) => sum + count, 0)).toBe(5_001);
    expect(taken.find(({ source }) => source === 'others')?.counts[0]?.count).toBe(4_800);
    expect(taken.find(({ source }) => source === 'token/a')).toBeDefined();
  });

  it('stays small while nothing can be recorded', () => {
    let now = at;
    const counter = new AttemptCounter(() => now);
    for (let minute = 0; minute < 50; minute++, now += 60_000)
      for (let i = 0; i < 300; i++) counter.count(`token/${minute}-${i}`, { status: 429, code: 'x' }, false);
    const taken = counter.take();
    expect(taken.length).toBeLessThanOrEqual(1_050);
    expect(taken.flatMap(({ counts }) => counts).reduce((sum, { count }) => sum + count, 0)).toBe(15_000);
  });
});

describe('the trail as text', () => {
  const row: AuditRow = {
    position: 7,
    at: '2026-11-25T17:05:30.000Z',
    category: 'refusal',
    stream: 'refusals',
    version: 3,
    gateway: null,
    action: 'RefuseAttempt',
    actor: 'token/a',
    subjects: ['mapping/user', 'mapping/other'],
    subjectCount: 2,
    result: 'refused',
    status: 409,
    code: 'claim_taken',
    reason: '=cmd|"calc"!A1,\nsecond line',
    requestId: null,
    commandId: 'c',
    hash: 'ab',
    count: 1,
  };

  it.each([
    [null, ''],
    [7, '7'],
    ['plain', 'plain'],
    ['a,b', '"a,b"'],
    ['say "so"', '"say ""so"""'],
    ['two\nlines', '"two\nlines"'],
    ['=1+1', "'=1+1"],
    ['+1', "'+1"],
    ['-1', "'-1"],
    ['@SUM(A1)', "'@SUM(A1)"],
    ['\t=1', "'\t=1"],
    ['\r=1', '"\'\r=1"'],
    ['=HYPERLINK("x","y")', '"\'=HYPERLINK(""x"",""y"")"'],
    [['mapping/a', 'mapping/b'], 'mapping/a mapping/b'],
  ])('writes %j as the cell %s', (value, cell) => {
    expect(csvCell(value)).toBe(cell);
  });

  it('has as many cells in a line as in its heading', () => {
    expect(csvHeading.split(',')).toHaveLength(18);
    expect(csvLine(row)).toBe(
      `7,2026-11-25T17:05:30.000Z,refusal,refusals,3,,RefuseAttempt,token/a,mapping/user mapping/other,2,refused,409,claim_taken,"'=cmd|""calc""!A1,\nsecond line",,c,ab,1\r\n`,
    );
    expect(JSON.parse(ndjsonLine(row))).toEqual(row);
  });

  it.each([
    ['user', "('user' | 'user')"],
    ['Mapping/User', "('mapping/user' | 'mapping' & 'user')"],
    ['a  b-c', "('a' | 'a') & ('b-c' | 'b' & 'c')"],
    ['--- a', "('a' | 'a')"],
    ["it's \\ x'", "('it''s' | 'it' & 's') & ('x''' | 'x')"],
    ["a\\'b", "('a\\\\''b' | 'a' & 'b')"],
    ['Über', "('Über' | 'Über')"],
  ])('looks for %j as %s', (text, query) => {
    expect(wordsQuery(text)).toBe(query);
  });
});
