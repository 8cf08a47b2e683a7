import { join } from 'node:path';
import { expect, test } from '@jest/globals';

import { readMigrations } from '#platform/database/migrator.js';

import { checkout } from '../support/dev-harness.js';

const migrations = readMigrations(join(checkout, 'migrations'));
/** From here on releases run side by side; what is older knows no `needs`. */
const SIDE_BY_SIDE = '000017.sql';

/** What processes of the release before may rest on, and would miss. */
const takesAway =
  /\bdrop\s+(?:table|column|function|procedure|view|type|schema|default)\b|\brename\b|\balter\s+(?:column\s+)?\w+\s+(?:set\s+data\s+)?type\b|\bset\s+not\s+null\b|\brevoke\b|\badd\s+column\s+(?:if\s+not\s+exists\s+)?\w+\s+(?:(?!\bdefault\b)[^,;])*\bnot\s+null\b(?:(?!\bdefault\b)[^,;])*[,;]/i;

const program = (sql: string) => sql.replace(/--.*$/gm, '');

test('a migration that takes something away says which release can do without: -- needs NNNNNN', () => {
  const silent = migrations.filter(({ name, sql, needs }) => name > SIDE_BY_SIDE && needs === null && takesAway.test(program(sql)));
  expect(silent.map(({ name }) => name)).toEqual([]);
});

test('what a migration needs is there before it', () => {
  const names = migrations.map(({ name }) => name);
  const wrong = migrations.filter(({ name, needs }) => needs !== null && !(needs < name && names.includes(needs)));
  expect(wrong.map(({ name, needs }) => `${name} needs ${needs}`)).toEqual([]);
});

test.each([
  'ALTER TABLE chancery.a DROP COLUMN b;',
  'drop function chancery.f(text);',
  'ALTER TABLE chancery.a RENAME COLUMN b TO c;',
  'ALTER TABLE chancery.a ALTER COLUMN b TYPE bigint;',
  'ALTER TABLE chancery.a ALTER b SET NOT NULL;',
  'ALTER TABLE chancery.a ADD COLUMN b text NOT NULL;',
  'REVOKE UPDATE ON chancery.a FROM chancery_app;',
])('%s takes something away', (sql) => {
  expect(takesAway.test(program(sql))).toBe(true);
});

test.each([
  'CREATE TABLE chancery.a (b text NOT NULL);',
  'ALTER TABLE chancery.a ADD COLUMN b text;',
  'ALTER TABLE chancery.a ADD COLUMN b text NOT NULL DEFAULT $$x$$;',
  "ALTER TABLE chancery.a ADD COLUMN b text DEFAULT 'x' NOT NULL;",
  '-- nothing is dropped: drop table\nCREATE INDEX a ON chancery.a (b);',
  'DROP INDEX chancery.a;',
])('%s does not', (sql) => {
  expect(takesAway.test(program(sql))).toBe(false);
});
