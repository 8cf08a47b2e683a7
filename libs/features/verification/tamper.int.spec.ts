import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import type { LogFault } from '#platform/eventstore/log-fault.js';

import { openTampering, TAMPERED, type Tampering, UNTOUCHED } from './tampering.fixture.js';

let tampering: Tampering;
beforeAll(async () => {
  tampering = await openTampering();
});
afterAll(() => tampering.close(), 30_000);

/** What was done, where, the statements, and the fault as it is named. `t`: the stream in question. */
type Case = readonly [string, string, Partial<LogFault>];

const t = `stream = '${TAMPERED}'`;
const at = (version: number) => `${t} AND version = ${version}`;
const event = (version: number, position: number) => `${at(version)} AND position = ${position}`;
const rehashed = (version: number) => `SELECT pg_temp.rehash('${TAMPERED}', ${version})`;
const redigested = `SELECT pg_temp.redigest('${TAMPERED}')`;
/** Exchanges the numbers of two versions in a table. */
const exchange = (table: string, a: number, b: number) =>
  `UPDATE ${table} SET version = -1 WHERE ${at(a)}; UPDATE ${table} SET version = ${a} WHERE ${at(b)}; UPDATE ${table} SET version = ${b} WHERE ${at(-1)}`;
const exchangePositions = (version: number, a: number, b: number) =>
  `UPDATE event SET position = -1 WHERE ${event(version, a)}; UPDATE event SET position = ${a} WHERE ${event(version, b)}; UPDATE event SET position = ${b} WHERE ${event(version, -1)}`;
/** Moves everything from a version on to make room for one, or to close a gap. */
const shift = (table: string, from: number, by: number) =>
  `UPDATE ${table} SET version = version + 1000 WHERE ${t} AND version >= ${from}; UPDATE ${table} SET version = version - ${1000 - by} WHERE ${t} AND version >= 1000`;
/** A forged record, one with its hash, that follows version - 1; its only event is that of thing/forged. */
const forge = (version: number) => `
  INSERT INTO event SELECT '${TAMPERED}', ${version}, 0, 'thing/forged', 1, 'ThingPut', 1, '{"n":1}', event_digest('ThingPut', 1::smallint, 'thing/forged', 1, '{"n":1}');
  INSERT INTO version SELECT stream, ${version}, hash, hash, sha256((SELECT digest FROM event WHERE ${event(version, 0)})), 1, gen_random_uuid(), 'Forge', 'token/x', null, null, null, null, null, recorded_at
    FROM version WHERE ${at(version - 1)}; ${rehashed(version)}`;

describe.each<[string, Case[]]>([
  [
    'version',
    [
      ...[1, 5, 9].flatMap((v): Case[] => [
        [`edit ${v}: the actor`, `UPDATE version SET actor = 'token/x' WHERE ${at(v)}`, { kind: 'altered', table: 'version', version: v }],
        [`edit ${v}: the reason`, `UPDATE version SET reason = null WHERE ${at(v)}`, { kind: 'altered', table: 'version', version: v }],
        [
          `edit ${v}: the time`,
          `UPDATE version SET recorded_at = recorded_at + interval '1 microsecond' WHERE ${at(v)}`,
          { kind: 'altered', table: 'version', version: v },
        ],
        [
          `edit ${v}: the details`,
          `UPDATE version SET details = '{"x":1}' WHERE ${at(v)}`,
          { kind: 'altered', table: 'version', version: v },
        ],
        [`edit ${v}: the hash`, `UPDATE version SET hash = sha256('x') WHERE ${at(v)}`, { kind: 'altered', table: 'version', version: v }],
        [
          `edit ${v}: the parent`,
          `UPDATE version SET parent_hash = sha256('x') WHERE ${at(v)}`,
          { kind: 'altered', table: 'version', version: v },
        ],
        [
          `edit ${v}: the root`,
          `UPDATE version SET events_root = sha256('x') WHERE ${at(v)}`,
          { kind: 'altered', table: 'version', version: v },
        ],
        [`edit ${v}: the count`, `UPDATE version SET event_count = 7 WHERE ${at(v)}`, { kind: 'altered', table: 'version', version: v }],
        [
          `edit ${v}: the parent and its own hash`,
          `UPDATE version SET parent_hash = sha256('x') WHERE ${at(v)}; ${rehashed(v)}`,
          { kind: 'altered', table: 'version', version: v },
        ],
        [`delete ${v}: the record`, `DELETE FROM version WHERE ${at(v)}`, { kind: 'deleted', table: 'version', version: v }],
        [
          `delete ${v}: the record and its events`,
          `DELETE FROM version WHERE ${at(v)}; DELETE FROM event WHERE ${at(v)}`,
          { kind: v === 9 ? 'deleted' : 'gap', table: 'version', version: v, from: v, to: v },
        ],
      ]),
      ...[1, 5].flatMap((v): Case[] => [
        [
          `edit ${v}: the actor and its own hash`,
          `UPDATE version SET actor = 'token/x' WHERE ${at(v)}; ${rehashed(v)}`,
          { kind: 'altered', table: 'version', version: v },
        ],
        [
          `delete ${v} and renumber the others`,
          `DELETE FROM version WHERE ${at(v)}; DELETE FROM event WHERE ${at(v)}; ${shift('version', v, -1)}; ${shift('event', v, -1)}; UPDATE stream SET version = 8 WHERE ${t}`,
          { kind: 'deleted', table: 'version', version: v, from: v, to: v },
        ],
      ]),
      [
        'edit 9: the actor and its own hash (no version after it can say which of the two was changed, it or the head)',
        `UPDATE version SET actor = 'token/x' WHERE ${at(9)}; ${rehashed(9)}`,
        { kind: 'head_mismatch', table: 'stream', version: 9 },
      ],
      [
        'delete 3 to 6',
        `DELETE FROM version WHERE ${t} AND version BETWEEN 3 AND 6; DELETE FROM event WHERE ${t} AND version BETWEEN 3 AND 6`,
        { kind: 'gap', table: 'version', version: 3, from: 3, to: 6 },
      ],
      ['truncate', 'TRUNCATE version', { kind: 'deleted', table: 'version', version: 1, from: 1, to: 9 }],
      [
        'insert before the first',
        `INSERT INTO version SELECT (jsonb_populate_record(v, '{"version": 0, "command_id": "00000000-0000-0000-0000-000000000000"}')).* FROM version v WHERE ${at(1)}`,
        { kind: 'inserted', table: 'version', version: 0 },
      ],
      [
        'insert in the middle, the others renumbered',
        `${shift('version', 5, 1)}; ${shift('event', 5, 1)}; ${forge(5)}; UPDATE stream SET version = 10 WHERE ${t}`,
        { kind: 'inserted', table: 'version', version: 5, from: 5, to: 5 },
      ],
      ['insert after the last, one with its hash', forge(10), { kind: 'inserted', table: 'version', version: 10, from: 10, to: 10 }],
      ...[1, 4, 8].flatMap((v): Case[] => [
        [
          `reorder ${v} and ${v + 1}: the records`,
          exchange('version', v, v + 1),
          { kind: 'reordered', table: 'version', version: v, from: v, to: v + 1 },
        ],
        [
          `reorder ${v} and ${v + 1}: with their events`,
          `${exchange('version', v, v + 1)}; ${exchange('event', v, v + 1)}`,
          { kind: 'reordered', table: 'version', version: v, from: v, to: v + 1 },
        ],
      ]),
    ],
  ],
  [
    'event',
    [
      ...(
        [
          [1, 0, 'a'],
          [5, 1, 'c'],
          [9, 0, 'a'],
        ] as const
      ).flatMap(([v, p, name]): Case[] => {
        const named = { table: 'event', version: v, subject: `thing/${name}`, position: p } as const;
        return [
          [`edit ${v}/${p}: the state`, `UPDATE event SET state = '{"n":666}' WHERE ${event(v, p)}`, { kind: 'altered', ...named }],
          [
            `edit ${v}/${p}: its white space`,
            `UPDATE event SET state = (state::text || ' ')::json WHERE ${event(v, p)}`,
            { kind: 'altered', ...named },
          ],
          [`edit ${v}/${p}: the type`, `UPDATE event SET type = 'ThingEnded' WHERE ${event(v, p)}`, { kind: 'altered', ...named }],
          [`edit ${v}/${p}: the schema version`, `UPDATE event SET schema_version = 2 WHERE ${event(v, p)}`, { kind: 'altered', ...named }],
          [`edit ${v}/${p}: the number`, `UPDATE event SET subject_version = 77 WHERE ${event(v, p)}`, { kind: 'altered', ...named }],
          [`edit ${v}/${p}: the digest`, `UPDATE event SET digest = sha256('x') WHERE ${event(v, p)}`, { kind: 'altered', ...named }],
          [
            `edit ${v}/${p}: the state and the digest`,
            `UPDATE event SET state = '{"n":666}' WHERE ${event(v, p)}; ${redigested}`,
            { kind: 'altered', ...named },
          ],
          [`delete ${v}/${p}`, `DELETE FROM event WHERE ${event(v, p)}`, { kind: 'deleted', ...named }],
          [
            `insert into ${v} before all`,
            `INSERT INTO event SELECT '${TAMPERED}', ${v}, -1, 'thing/forged', 1, 'ThingPut', 1, '{"n":1}', ''; ${redigested}`,
            { kind: 'inserted', table: 'event', version: v, subject: 'thing/forged', position: -1 },
          ],
          [
            `insert into ${v} after all`,
            `INSERT INTO event SELECT '${TAMPERED}', ${v}, 3, 'thing/forged', 1, 'ThingPut', 1, '{"n":1}', ''; ${redigested}`,
            { kind: 'inserted', table: 'event', version: v, subject: 'thing/forged', position: 3 },
          ],
        ];
      }),
      [
        'edit 5/2: the position',
        `UPDATE event SET position = 7 WHERE ${event(5, 2)}`,
        { kind: 'altered', table: 'event', version: 5, subject: 'thing/d', position: 7 },
      ],
      [
        'edit 5/1: the version',
        `UPDATE event SET version = 7, position = 1 WHERE ${event(5, 1)}`,
        { kind: 'deleted', table: 'event', version: 5, subject: 'thing/c', position: 1 },
      ],
      ['delete all of 5', `DELETE FROM event WHERE ${at(5)}`, { kind: 'deleted', table: 'event', version: 5, position: 0 }],
      ['truncate', 'TRUNCATE event', { kind: 'deleted', table: 'event', version: 1, subject: 'thing/a', position: 0 }],
      [
        'insert before the first version',
        `INSERT INTO event SELECT '${TAMPERED}', 0, 0, 'thing/forged', 1, 'ThingPut', 1, '{"n":1}', ''`,
        { kind: 'inserted', table: 'event', version: 0 },
      ],
      [
        'insert beyond the head',
        `INSERT INTO event SELECT '${TAMPERED}', 10, 0, 'thing/forged', 1, 'ThingPut', 1, '{"n":1}', ''; ${redigested}`,
        { kind: 'inserted', table: 'event', version: 10, subject: 'thing/forged', position: 0 },
      ],
      ['reorder in 2', exchangePositions(2, 0, 1), { kind: 'reordered', table: 'event', version: 2, position: 0 }],
      ['reorder in 5', exchangePositions(5, 0, 2), { kind: 'reordered', table: 'event', version: 5, position: 0 }],
      ['reorder in 8', exchangePositions(8, 0, 1), { kind: 'reordered', table: 'event', version: 8, position: 0 }],
      ['reorder between 1 and 9', `${exchange('event', 1, 9)}`, { kind: 'altered', table: 'event', version: 1, subject: 'thing/a' }],
    ],
  ],
  [
    'subject',
    [
      // In the order of their versions: b is of 7, c and d of 8, a of 9.
      ...(
        [
          ['b', 7],
          ['c', 8],
          ['a', 9],
        ] as const
      ).flatMap(([name, v]): Case[] => {
        const one = `${t} AND subject = 'thing/${name}'`;
        const named = { table: 'subject', version: v, subject: `thing/${name}` } as const;
        return [
          [`edit ${name}: the state`, `UPDATE subject SET state = state || '{"n":666}' WHERE ${one}`, { kind: 'state_mismatch', ...named }],
          [`edit ${name}: ended`, `UPDATE subject SET state = null WHERE ${one}`, { kind: 'state_mismatch', ...named }],
          [`edit ${name}: the number`, `UPDATE subject SET version = version + 1 WHERE ${one}`, { kind: 'state_mismatch', ...named }],
          [`edit ${name}: since when`, `UPDATE subject SET from_version = 2 WHERE ${one}`, { kind: 'state_mismatch', ...named }],
          [`edit ${name}: the schema version`, `UPDATE subject SET schema_version = 2 WHERE ${one}`, { kind: 'state_mismatch', ...named }],
          [`edit ${name}: the time`, `UPDATE subject SET recorded_at = now() WHERE ${one}`, { kind: 'state_mismatch', ...named }],
          [`edit ${name}: the claims`, `UPDATE subject SET claims = claims[:1] WHERE ${one}`, { kind: 'state_mismatch', ...named }],
          [
            `edit ${name}: a claim in both places`,
            `UPDATE subject SET claims[2] = 'n:forged' WHERE ${one}; UPDATE claim SET claim = 'n:forged' WHERE ${one} AND claim LIKE 'n:%'`,
            { kind: 'state_mismatch', ...named },
          ],
          [`delete ${name}`, `DELETE FROM subject WHERE ${one}`, { kind: 'deleted', ...named }],
        ];
      }),
      ...(
        [
          ['0', 1],
          ['bb', 5],
          ['z', 9],
        ] as const
      ).map(
        ([name, v]): Case => [
          `insert ${name}`,
          `INSERT INTO subject SELECT '${TAMPERED}', 'thing/${name}', 1, ${v}, 1, '{"n":1}', null, now()`,
          { kind: 'inserted', table: 'subject', version: v, subject: `thing/${name}` },
        ],
      ),
      [
        'reorder: the states of b and c exchanged',
        `UPDATE subject s SET state = o.state FROM subject o WHERE s.${t} AND o.${t} AND (s.subject, o.subject) IN (('thing/b', 'thing/d'), ('thing/d', 'thing/b'))`,
        { kind: 'state_mismatch', table: 'subject', version: 7, subject: 'thing/b' },
      ],
      ['truncate', 'TRUNCATE subject', { kind: 'deleted', table: 'subject', version: 7, subject: 'thing/b' }],
    ],
  ],
  [
    'subject_history',
    [
      // a lived as number 1 from 1 to 3, b as number 2 from 5 to 7, a as number 3 from 6 to 9.
      ...(
        [
          ['a', 1, 1],
          ['b', 2, 5],
          ['a', 3, 6],
        ] as const
      ).flatMap(([name, number, v]): Case[] => {
        const one = `${t} AND subject = 'thing/${name}' AND version = ${number}`;
        const named = { table: 'subject_history', version: v, subject: `thing/${name}` } as const;
        return [
          [
            `edit ${name} ${number}: the state`,
            `UPDATE subject_history SET state = state || '{"n":666}' WHERE ${one}`,
            { kind: 'state_mismatch', ...named },
          ],
          [
            `edit ${name} ${number}: its beginning`,
            `UPDATE subject_history SET valid = int8range(lower(valid) - 1, upper(valid)) WHERE ${one}`,
            { kind: 'state_mismatch', ...named },
          ],
          [
            `edit ${name} ${number}: its end`,
            `UPDATE subject_history SET valid = int8range(lower(valid), upper(valid) + 1) WHERE ${one}`,
            { kind: 'state_mismatch', ...named },
          ],
          [
            `edit ${name} ${number}: empty`,
            `UPDATE subject_history SET valid = 'empty' WHERE ${one}`,
            { kind: 'state_mismatch', ...named },
          ],
          [
            `edit ${name} ${number}: the schema version`,
            `UPDATE subject_history SET schema_version = 2 WHERE ${one}`,
            { kind: 'state_mismatch', ...named },
          ],
          [
            `edit ${name} ${number}: the time`,
            `UPDATE subject_history SET recorded_at = now() WHERE ${one}`,
            { kind: 'state_mismatch', ...named },
          ],
          [`delete ${name} ${number}`, `DELETE FROM subject_history WHERE ${one}`, { kind: 'deleted', ...named }],
        ];
      }),
      ...(
        [
          ['0', 1],
          ['b', 5],
          ['z', 9],
        ] as const
      ).map(
        ([name, v]): Case => [
          `insert of ${name} from ${v}`,
          `INSERT INTO subject_history SELECT '${TAMPERED}', 'thing/${name}', 77, int8range(${v}, ${v + 1}), 1, '{"n":1}', now()`,
          { kind: 'inserted', table: 'subject_history', version: v, subject: `thing/${name}` },
        ],
      ),
      [
        'reorder: a 1 and a 2 exchanged',
        `UPDATE subject_history SET version = -1 WHERE ${t} AND subject = 'thing/a' AND version = 1; UPDATE subject_history SET version = 1 WHERE ${t} AND subject = 'thing/a' AND version = 2;
         UPDATE subject_history SET version = 2 WHERE ${t} AND subject = 'thing/a' AND version = -1`,
        { kind: 'state_mismatch', table: 'subject_history', version: 1, subject: 'thing/a' },
      ],
      ['truncate', 'TRUNCATE subject_history', { kind: 'deleted', table: 'subject_history', version: 1, subject: 'thing/a' }],
    ],
  ],
  [
    'claim',
    [
      ...(
        [
          ['b', 7],
          ['c', 8],
          ['a', 9],
        ] as const
      ).flatMap(([name, v]): Case[] => {
        const one = `${t} AND claim = 'name:thing/${name}'`;
        const named = { table: 'claim', version: v, subject: `thing/${name}` } as const;
        return [
          [`edit ${name}: the owner`, `UPDATE claim SET subject = 'thing/x' WHERE ${one}`, { kind: 'state_mismatch', ...named }],
          [`edit ${name}: the claim`, `UPDATE claim SET claim = 'name:forged' WHERE ${one}`, { kind: 'deleted', ...named }],
          [`delete ${name}`, `DELETE FROM claim WHERE ${one}`, { kind: 'deleted', ...named }],
        ];
      }),
      ...['0', 'n', 'z'].map(
        (claim): Case => [
          `insert ${claim}`,
          `INSERT INTO claim SELECT '${TAMPERED}', '${claim}', 'thing/a'`,
          { kind: 'inserted', table: 'claim', subject: 'thing/a' },
        ],
      ),
      [
        'reorder: the owners of two exchanged',
        `UPDATE claim SET subject = CASE subject WHEN 'thing/a' THEN 'thing/b' ELSE 'thing/a' END WHERE ${t} AND claim IN ('name:thing/a', 'name:thing/b')`,
        { kind: 'state_mismatch', table: 'claim', version: 7, subject: 'thing/b' },
      ],
      ['truncate', 'TRUNCATE claim', { kind: 'deleted', table: 'claim', version: 7, subject: 'thing/b' }],
    ],
  ],
  [
    'reference',
    [
      ...(
        [
          ['b', 7],
          ['c', 8],
          ['d', 8],
        ] as const
      ).flatMap(([name, v]): Case[] => {
        const one = `${t} AND subject = 'thing/${name}'`;
        const named = { kind: 'state_mismatch', table: 'reference', version: v, subject: `thing/${name}` } as const;
        return [
          [`edit ${name}: the target`, `UPDATE reference SET target = 'thing/c' WHERE ${one}`, named],
          [`edit ${name}: whose it is`, `UPDATE reference SET subject = 'thing/x' WHERE ${one}`, named],
          [`delete ${name}`, `DELETE FROM reference WHERE ${one}`, named],
          [`insert for ${name}`, `INSERT INTO reference SELECT '${TAMPERED}', 'thing/${name}', 'thing/zz'`, named],
        ];
      }),
      [
        'insert for nobody',
        `INSERT INTO reference SELECT '${TAMPERED}', 'thing/nobody', 'thing/a'`,
        { kind: 'inserted', table: 'reference', subject: 'thing/nobody' },
      ],
      ['truncate', 'TRUNCATE reference', { kind: 'state_mismatch', table: 'reference', version: 7, subject: 'thing/b' }],
    ],
  ],
  [
    'stream',
    [
      [
        'edit: set back',
        `UPDATE stream SET version = 8, hash = (SELECT hash FROM version WHERE ${at(8)}) WHERE ${t}`,
        { kind: 'inserted', table: 'version', version: 9, from: 9, to: 9 },
      ],
      [
        'edit: to the beginning',
        `UPDATE stream SET version = 0, hash = genesis_hash(stream) WHERE ${t}`,
        { kind: 'inserted', table: 'version', version: 1, from: 1, to: 9 },
      ],
      ['edit: the number lowered', `UPDATE stream SET version = 8 WHERE ${t}`, { kind: 'head_mismatch', table: 'stream', version: 8 }],
      [
        'edit: the number raised',
        `UPDATE stream SET version = 11 WHERE ${t}`,
        { kind: 'deleted', table: 'version', version: 10, from: 10, to: 11 },
      ],
      ['edit: the hash', `UPDATE stream SET hash = sha256('x') WHERE ${t}`, { kind: 'head_mismatch', table: 'stream', version: 9 }],
      ['delete', `DELETE FROM stream WHERE ${t}`, { kind: 'deleted', table: 'stream' }],
      ['truncate', 'TRUNCATE stream', { kind: 'deleted', table: 'stream' }],
    ],
  ],
  [
    'confirmation',
    [2, 5, 8].flatMap((v): Case[] => [
      [
        `edit ${v}: the deadline`,
        `UPDATE confirmation SET deadline = deadline + interval '1 hour' WHERE ${at(v)}`,
        { kind: 'state_mismatch', table: 'confirmation', version: v },
      ],
      [
        `edit ${v}: which version`,
        `UPDATE confirmation SET version = 9 WHERE ${at(v)}`,
        { kind: 'deleted', table: 'confirmation', version: v },
      ],
      [`delete ${v}`, `DELETE FROM confirmation WHERE ${at(v)}`, { kind: 'deleted', table: 'confirmation', version: v }],
      [
        `insert after ${v}`,
        `INSERT INTO confirmation SELECT '${TAMPERED}', ${v + 1}, now()`,
        { kind: 'inserted', table: 'confirmation', version: v + 1 },
      ],
    ]),
  ],
])('%s', (_table, cases) => {
  test.each(cases)('%s', async (_what, statements, fault) => {
    const found = await tampering.after(statements);
    expect(found.ok).toBe(false);
    expect(found.streams.find(({ stream }) => stream === TAMPERED)).toMatchObject({ ok: false, fault });
    if (!statements.startsWith('TRUNCATE'))
      expect(found.streams.find(({ stream }) => stream === UNTOUCHED)).toMatchObject({ ok: true, fault: null });
  });
});

test('an inserted stream', async () => {
  const { streams } = await tampering.after("INSERT INTO stream SELECT 'gateway/forged', 3, sha256('x')");
  expect(streams.find(({ stream }) => stream === 'gateway/forged')).toMatchObject({
    fault: { kind: 'deleted', table: 'version', from: 1, to: 3 },
  });
});

test('the log as it was written', async () => {
  for (const mode of ['full', 'incremental'] as const) {
    const found = await tampering.verifier().verify(mode);
    expect(found).toMatchObject({ ok: true, mode, anchors: { configured: true, ok: true, faults: [] }, warnings: [] });
    const checked = mode === 'full' ? [9, 9] : [1, 0]; // since the last anchors, of version 8 and of version 9
    expect(found.streams.map((stream) => stream.checked)).toEqual(checked);
    expect(found.streams.map(({ version }) => version)).toEqual([9, 9]);
  }
});

describe('a chain that was rebuilt whole, with everything that follows from it', () => {
  // Anchored were the versions 3, 6 and 8.
  test.each([
    ['the first version', 1, 1, 3],
    ['a version before the first anchor', 3, 1, 3],
    ['the version after an anchor', 4, 4, 6],
    ['the middle', 5, 4, 6],
    ['the last anchored version', 8, 7, 8],
  ])('%s: the range between the anchors is named', async (_, version, from, to) => {
    const rebuilt = `UPDATE event SET state = jsonb_set(coalesce(state::text, '{}')::jsonb, '{n}', '666')::json WHERE ${event(version, 0)}; SELECT pg_temp.rebuild('${TAMPERED}')`;
    const fault = { kind: 'anchor_mismatch', table: 'version', from, to, stream: TAMPERED };
    for (const mode of ['full', 'incremental'] as const) {
      const found = await tampering.after(rebuilt, mode);
      expect(found).toMatchObject({ ok: false, anchors: { ok: false, faults: [fault] } });
      expect(found.streams.find(({ stream }) => stream === TAMPERED)).toMatchObject({ ok: false, fault });
      expect(found.streams.find(({ stream }) => stream === UNTOUCHED)).toMatchObject({ ok: true });
    }
  });

  test.each([
    ['an edited record', `UPDATE version SET actor = 'token/x' WHERE ${at(5)}`],
    ['an exchanged pair of records', `${exchange('version', 4, 5)}; ${exchange('event', 4, 5)}`],
    ['a deleted event', `DELETE FROM event WHERE ${event(5, 2)}`],
    ['an inserted event', `INSERT INTO event SELECT '${TAMPERED}', 5, 3, 'thing/forged', 1, 'ThingPut', 1, '{"n":1}', ''`],
    ['exchanged events', exchangePositions(5, 0, 1)],
    ['an event moved to the next version', `UPDATE event SET version = 6, position = 1 WHERE ${event(5, 2)}`],
  ])('%s, and everything made to fit', async (_, statements) => {
    const found = await tampering.after(`${statements}; SELECT pg_temp.rebuild('${TAMPERED}')`);
    const fault = { kind: 'anchor_mismatch', stream: TAMPERED, from: 4, to: 6 };
    expect(found.anchors.faults).toMatchObject([fault]);
    expect(found.streams.find(({ stream }) => stream === TAMPERED)).toMatchObject({ ok: false, fault });
  });

  test('a record taken out, the others renumbered and rebuilt', async () => {
    const found = await tampering.after(
      `DELETE FROM version WHERE ${at(6)}; DELETE FROM event WHERE ${at(6)}; UPDATE event SET subject_version = subject_version - 1 WHERE ${t} AND subject = 'thing/a' AND version > 6;
       ${shift('version', 6, -1)}; ${shift('event', 6, -1)}; UPDATE confirmation SET version = 7 WHERE ${at(8)}; SELECT pg_temp.rebuild('${TAMPERED}')`,
    );
    expect(found.anchors.faults).toMatchObject([{ kind: 'anchor_mismatch', from: 4, to: 6 }]);
  });

  test('after the last anchor it cannot be told from a true one: the promise ends at the last anchor', async () => {
    const found = await tampering.after(`UPDATE event SET state = '{"n":666}' WHERE ${event(9, 0)}; SELECT pg_temp.rebuild('${TAMPERED}')`);
    expect(found.ok).toBe(true);
  });
});

describe('a log that was cut off, with everything that follows from it', () => {
  test.each([
    ['after the first version', 1],
    ['in the middle', 5],
    ['just before the last anchor', 7],
  ])('%s: what is missing is named', async (_, version) => {
    for (const mode of ['full', 'incremental'] as const) {
      const found = await tampering.after(`SELECT pg_temp.cut('${TAMPERED}', ${version})`, mode);
      const fault = { kind: 'truncated', table: 'version', from: version + 1, to: 8, stream: TAMPERED };
      expect(found).toMatchObject({ ok: false, anchors: { ok: false, faults: [fault] } });
      expect(found.streams.find(({ stream }) => stream === TAMPERED)).toMatchObject({ ok: false, fault });
    }
  });

  test('the whole stream, without a trace', async () => {
    const everything = ['stream', 'version', 'event', 'subject', 'subject_history', 'claim', 'reference', 'confirmation'];
    const found = await tampering.after(everything.map((table) => `DELETE FROM ${table} WHERE ${t}`).join(';'));
    const fault = { kind: 'deleted', table: 'stream', from: 1, to: 8 };
    expect(found.anchors.faults).toMatchObject([{ stream: TAMPERED, ...fault }]);
    expect(found.streams.find(({ stream }) => stream === TAMPERED)).toMatchObject({ ok: false, version: 0, fault });
  });

  test('cut off and continued: another version 6 stands where the anchored one was', async () => {
    const found = await tampering.after(`SELECT pg_temp.cut('${TAMPERED}', 5); ${forge(6)}; SELECT pg_temp.rebuild('${TAMPERED}')`);
    expect(found.anchors.faults).toMatchObject([
      { kind: 'anchor_mismatch', from: 4, to: 6 },
      { kind: 'truncated', from: 7, to: 8 },
    ]);
  });

  test('at the last anchor it cannot be told from a log that was never longer: the promise ends at the last anchor', async () => {
    expect((await tampering.after(`SELECT pg_temp.cut('${TAMPERED}', 8)`)).ok).toBe(true);
  });
});

test('a state that the database itself cannot read is a fault, not a failure', async () => {
  const other = await openTampering();
  try {
    await other.commit(`UPDATE event SET state = '{"n":"\\u0000"}' WHERE ${event(9, 0)}; ${redigested};
      UPDATE version SET events_root = sha256((SELECT digest FROM event WHERE ${event(9, 0)})) WHERE ${at(9)}; ${rehashed(9)};
      UPDATE stream SET hash = (SELECT hash FROM version WHERE ${at(9)}) WHERE ${t}`);
    const found = await other.verifier().verify('full');
    expect(found.streams.find(({ stream }) => stream === TAMPERED)).toMatchObject({ fault: { kind: 'state_mismatch', table: 'event' } });
  } finally {
    await other.close();
  }
});
