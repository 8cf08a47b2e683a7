import { basename, dirname } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { certificateKind } from '#features/certificate/certificate.kind.js';
import { defaultSettings, settingsOf, settingsToJson } from '#features/gateway/gateway.js';
import { gatewayKind } from '#features/gateway/gateway.kind.js';
import { SubjectKinds, splitSubject } from '#features/history/subject-kind.js';
import { mappingKind } from '#features/mapping/mapping.kind.js';
import { fromJson, toJson } from '#features/mapping/mapping-state.js';
import { principalKind } from '#features/principal/principal.kind.js';
import { routeTestKind } from '#features/route-test/route-test.kind.js';
import type { JsonObject } from '#platform/kernel/json.js';

import { eventTypes, eventTypesOf } from './event-types.js';
import { listFiles } from './source-tree.js';

/**
 * One recorded event of a type and schema version, as it stands in somebody's log for ever: `libs/features/<noun>/golden/<EventType>.v<n>.json`.
 * `state` is what the log holds and never changes; `reads` is what today's program makes of it.
 */
interface GoldenEvent {
  readonly path: string;
  readonly type: string;
  readonly schemaVersion: number;
  readonly subject: string;
  readonly state: JsonObject | null;
  readonly reads: JsonObject | null;
}

const golden: GoldenEvent[] = listFiles(['libs/features']).flatMap(({ path, text }) => {
  const [, type, version] = /\/golden\/([A-Za-z0-9]+)\.v(\d+)\.json$/.exec(path) ?? [];
  return type === undefined ? [] : [{ path, type, schemaVersion: Number(version), ...JSON.parse(text) }];
});
const written = eventTypes();
const kinds = new SubjectKinds([gatewayKind, mappingKind(new Set()), principalKind, routeTestKind, certificateKind]);

/**
 * What reads a state of every shape there ever was, without being told which: decisions, the worker and the projector have nothing else. Subjects that
 * are not here are read as they were recorded.
 */
const readers: Readonly<Record<string, (name: string, state: JsonObject) => JsonObject>> = {
  gateway: (_name, state) => settingsToJson(settingsOf(state)),
  mapping: (name, state) => toJson(fromJson(name, state)),
};

function read(subject: string, state: JsonObject | null): JsonObject | null {
  const { kind, name } = splitSubject(subject);
  return state === null ? null : (readers[kind]?.(name, state) ?? state);
}

describe('golden events', () => {
  test('the types are found in the sources, however they are written', () => {
    expect(written.map(({ type }) => type)).toEqual(
      expect.arrayContaining([
        'GatewayConfigured',
        'MappingCreated',
        'MappingDeleted',
        'PrincipalUpdated',
        'TokenRevoked',
        'DeploymentProven',
      ]),
    );
    const file = (text: string) => eventTypesOf({ path: 'x.ts', text });
    const event = '{ type, schemaVersion, subject, state: null }';
    expect(
      file(`const schemaVersion = 3; const type = is ? 'ThingBegun' : 'ThingSet'; const action = { action: 'SetThing' }; make(${event})`),
    ).toEqual([
      { type: 'ThingBegun', schemaVersion: 3, path: 'x.ts' },
      { type: 'ThingSet', schemaVersion: 3, path: 'x.ts' },
    ]);
    expect(file(`if (event.type === 'ThingSet') return { type: event.type };`)).toEqual([]);
  });

  test('every type of event has one for each schema version that was ever written, beside what writes it', () => {
    const missing = written.flatMap(({ type, schemaVersion, path }) =>
      Array.from({ length: schemaVersion }, (_, i) => `${type}.v${i + 1}.json`).filter((file) => {
        const homes = golden.filter((event) => basename(event.path) === file).map((event) => dirname(dirname(event.path)));
        return homes.length !== 1 || (path.startsWith('libs/features/') && homes[0] !== dirname(path));
      }),
    );
    expect(missing).toEqual([]);
    expect(written.filter(({ schemaVersion }) => schemaVersion < 1)).toEqual([]);
  });

  test.each(golden.map((event) => [event.path, event] as const))(
    '%s reads as it says',
    (_path, { subject, state, schemaVersion, reads }) => {
      expect(kinds.upcast(subject, state, schemaVersion)).toEqual(reads);
      expect(read(subject, state)).toEqual(reads);
    },
  );

  test('what is written today reads as it is: another shape is another schema version', () => {
    const newest = golden.filter(({ type, schemaVersion }) =>
      written.some((one) => one.type === type && one.schemaVersion === schemaVersion),
    );
    expect(newest.length).toBeGreaterThanOrEqual(15);
    for (const { path, state, reads } of newest) expect([path, reads]).toEqual([path, state]);
  });

  test('what is read can be written in a document and read again, and is the same', () => {
    const settings = settingsToJson({ ...defaultSettings, allowLoopbackUpstreams: true });
    for (const { path, subject, reads } of golden) {
      const kind = kinds.of(subject);
      if (kind === undefined || reads === null) continue;
      expect([path, kind.read(splitSubject(subject).name, kind.write(reads), { settings, present: reads })]).toEqual([path, reads]);
    }
  });
});
