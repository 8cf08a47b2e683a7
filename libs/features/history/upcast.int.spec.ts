import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { QueryBus } from '@nestjs/cqrs';

import { aContext, anEvent, type LogFixture, openLog } from '../../../test/support/log-fixture.js';
import { ListSubjectHistory, ListSubjectHistoryHandler } from './list-subject-history.js';
import { ReadVersion, ReadVersionHandler } from './list-versions.js';
import { ReadConfiguration, ReadConfigurationHandler } from './read-configuration.js';
import { ReadDifference, ReadDifferenceHandler } from './read-difference.js';
import { SubjectKinds } from './subject-kind.js';
import { lampKind, oldLamp, youngLamp } from './upcast.fixture.js';

const kinds = new SubjectKinds([lampKind]);
const red = { ...youngLamp, colour: 'red' };

/** 1: two lamps, recorded by an older program. 2: one of them recorded by today's, and equal. 3: it turns red. 4: it ends. */
describe('a log that an older program began', () => {
  let log: LogFixture;
  beforeAll(async () => {
    log = await openLog();
    const write = (subjects: readonly string[], state: Parameters<typeof anEvent>[1], schemaVersion: number) =>
      log.store.handle({ stream: 'gateway/x', subjects, context: aContext() }, () =>
        subjects.map((subject) => anEvent(subject, state, { schemaVersion })),
      );
    await write(['lamp/a', 'lamp/b'], oldLamp, 1);
    await write(['lamp/a'], youngLamp, 2);
    await write(['lamp/a'], red, 2);
    await write(['lamp/a'], null, 2);
  });
  afterAll(() => log.close());

  /** Nothing here asks another query. */
  const bus = {} as QueryBus;
  const document = async (version: number | undefined) => {
    const handler = new ReadConfigurationHandler(kinds, log.database.db);
    return (await handler.execute(new ReadConfiguration('x', version, 'json', () => false))).document;
  };
  const difference = (from: number, to: number) =>
    new ReadDifferenceHandler(bus, kinds, log.database.db).execute(new ReadDifference('x', { from, to }, false));

  test('the same configuration in both shapes is one document', async () => {
    expect(await document(2)).toEqual(await document(1));
    expect(JSON.parse((await document(1))?.text ?? '')).toEqual({
      lamps: [
        { name: 'a', ...youngLamp },
        { name: 'b', ...youngLamp },
      ],
    });
    expect(JSON.parse((await document(undefined))?.text ?? '')).toEqual({ lamps: [{ name: 'b', ...youngLamp }] });
  });

  test('a difference is one of meaning, whichever shapes it is between', async () => {
    expect((await difference(1, 2)).changes).toEqual([]);
    expect((await difference(1, 3)).changes).toMatchObject([
      { subject: 'lamp/a', op: 'changed', before: youngLamp, after: red, diff: [{ pointer: '/colour', before: 'white', after: 'red' }] },
    ]);
    expect((await difference(4, 1)).changes).toMatchObject([{ subject: 'lamp/a', op: 'added', before: null, after: youngLamp }]);
    expect((await difference(0, 1)).changes).toMatchObject([{ after: youngLamp }, { after: youngLamp }]);
  });

  test("a subject's history and a version's events say what was recorded how, and show it in today's shape", async () => {
    const history = new ListSubjectHistoryHandler(bus, kinds, log.database.db);
    const items = await history.execute(new ListSubjectHistory('x', 'lamp/a', { before: undefined, limit: 10 }));
    expect(
      items.map(({ schemaVersion, before, state, diff }) => ({
        schemaVersion,
        before,
        state,
        pointers: diff.map(({ pointer }) => pointer),
      })),
    ).toEqual([
      { schemaVersion: 2, before: red, state: null, pointers: [''] },
      { schemaVersion: 2, before: youngLamp, state: red, pointers: ['/colour'] },
      { schemaVersion: 2, before: youngLamp, state: youngLamp, pointers: [] },
      { schemaVersion: 1, before: null, state: youngLamp, pointers: [''] },
    ]);
    const version = new ReadVersionHandler(kinds, log.database.db);
    expect((await version.execute(new ReadVersion('x', 2)))?.events).toMatchObject([
      { schemaVersion: 2, before: youngLamp, state: youngLamp },
    ]);
    expect((await version.execute(new ReadVersion('x', 1)))?.events).toMatchObject([
      { schemaVersion: 1, before: null, state: youngLamp },
      { schemaVersion: 1, before: null, state: youngLamp },
    ]);
  });
});
