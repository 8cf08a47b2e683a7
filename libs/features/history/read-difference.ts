import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryBus, QueryHandler } from '@nestjs/cqrs';

import { ReadRenderDifference } from '#features/rollout/read-render-difference.js';
import type { GatewayStates, RenderDifference } from '#features/rollout/render-difference.js';
import type { Db } from '#platform/database/database.js';
import { listTouchedSubjects, readHead, type TouchedSubject } from '#platform/eventstore/read-history.js';
import { stateAt } from '#platform/eventstore/read-log.js';
import { DB } from '#platform/http/tokens.js';
import type { JsonObject } from '#platform/kernel/json.js';
import { runInTurns } from '#platform/kernel/turns.js';

import { differencesOf, type SubjectDifference } from './difference.js';
import { SubjectKinds } from './subject-kind.js';
import { checkVersion } from './version-number.js';

/** What differs between two versions of a gateway. */
export interface VersionDifference {
  readonly from: number;
  readonly to: number;
  readonly changes: readonly SubjectDifference[];
  readonly rendered?: RenderDifference;
}

/** What leads from one version to another, in either order; 0 is the empty configuration before the first. `isRendered`: in Envoy's terms as well. */
export class ReadDifference extends Query<VersionDifference> {
  constructor(
    readonly gateway: string,
    readonly versions: { readonly from: number | undefined; readonly to: number | undefined },
    readonly isRendered: boolean,
  ) {
    super();
  }
}

@QueryHandler(ReadDifference)
export class ReadDifferenceHandler implements IQueryHandler<ReadDifference> {
  constructor(
    private readonly queries: QueryBus,
    private readonly kinds: SubjectKinds,
    @Inject(DB) private readonly db: Db,
  ) {}

  /** @throws DomainError not_found `gateway_not_found`, `version_not_found`; as ReadRenderDifference. */
  async execute({ gateway, versions, isRendered }: ReadDifference): Promise<VersionDifference> {
    const stream = `gateway/${gateway}`;
    const head = await readHead(this.db, stream);
    const to = checkVersion(versions.to, { head, least: 0 });
    const from = checkVersion(versions.from ?? Math.max(0, to - 1), { head, least: 0 });
    const [low, high] = [Math.min(from, to), Math.max(from, to)];
    const touched = await this.touched(stream, low, high);
    const upwards = await runInTurns(differencesOf(this.kinds, touched));
    const changes = from <= to ? upwards : await runInTurns(differencesOf(this.kinds, touched.map(reversed)));
    if (!isRendered) return { from, to, changes };
    const older = await this.states(stream, low);
    const newer = changed(older, high, upwards);
    const query = from <= to ? new ReadRenderDifference(gateway, older, newer) : new ReadRenderDifference(gateway, newer, older);
    return { from, to, changes, rendered: await this.queries.execute(query) };
  }

  /** From the empty configuration the shorter way to what is touched is what lives: everything else has come and gone. */
  private async touched(stream: string, low: number, high: number): Promise<TouchedSubject[]> {
    if (low > 0) return listTouchedSubjects(this.db, stream, { after: low, upTo: high });
    if (high === 0) return [];
    const living = await stateAt(this.db, stream, high);
    const none = { state: null, schemaVersion: 0 };
    return living
      .sort((a, b) => (a.subject < b.subject ? -1 : 1))
      .map(({ subject, state, schemaVersion }) => ({ subject, before: none, after: { state, schemaVersion } }));
  }

  private async states(stream: string, version: number): Promise<GatewayStates | null> {
    if (version === 0) return null;
    const living = await stateAt(this.db, stream, version);
    return {
      version,
      subjects: living.flatMap(({ subject, state, schemaVersion }) => {
        const today = this.kinds.upcast(subject, state, schemaVersion);
        return today === null ? [] : [[subject, today] as const];
      }),
    };
  }
}

const reversed = ({ subject, before, after }: TouchedSubject): TouchedSubject => ({ subject, before: after, after: before });

/** The states with these differences applied: what is equal on both sides is the same object, and is handed to the renderer once. */
function changed(states: GatewayStates | null, version: number, differences: readonly SubjectDifference[]): GatewayStates | null {
  if (version === 0) return null;
  const subjects = new Map<string, JsonObject>(states?.subjects ?? []);
  for (const { subject, after } of differences) {
    if (after === null) subjects.delete(subject);
    else subjects.set(subject, after);
  }
  return { version, subjects: [...subjects] };
}
