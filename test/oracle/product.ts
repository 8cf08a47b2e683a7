import { randomUUID } from 'node:crypto';

import type { QueryBus } from '@nestjs/cqrs';

import { ApplyChangeset, ApplyChangesetHandler } from '#features/changeset/apply-changeset.js';
import { parseChangeset } from '#features/changeset/changeset-input.js';
import type { ImportOptions } from '#features/changeset/configuration-import.js';
import { ImportConfiguration, ImportConfigurationHandler } from '#features/changeset/import-configuration.js';
import { parseDocument } from '#features/changeset/import-input.js';
import { ConfigureGateway, ConfigureGatewayHandler } from '#features/gateway/configure-gateway.js';
import { CreateGateway, CreateGatewayHandler } from '#features/gateway/create-gateway.js';
import { parseSettingsPatch } from '#features/gateway/gateway-settings.js';
import { ReadConfiguration, ReadConfigurationHandler } from '#features/history/read-configuration.js';
import { ReadDifference, ReadDifferenceHandler, type VersionDifference } from '#features/history/read-difference.js';
import type { SubjectKinds } from '#features/history/subject-kind.js';
import { CreateMapping, CreateMappingHandler } from '#features/mapping/create-mapping.js';
import { DeleteMapping, DeleteMappingHandler } from '#features/mapping/delete-mapping.js';
import { guardedQueries } from '#features/mapping/guarded-queries.fixture.js';
import { MappingBudget } from '#features/mapping/mapping-budget.table.js';
import { parseMappingCreate, parseMappingPatch, parseMappingReplace } from '#features/mapping/mapping-input.js';
import { OwnPorts } from '#features/mapping/own-ports.js';
import { type MappingChange, UpdateMapping, UpdateMappingHandler } from '#features/mapping/update-mapping.js';
import { DeletePrincipal, DeletePrincipalHandler } from '#features/principal/delete-principal.js';
import { parsePrincipal } from '#features/principal/principal-input.js';
import { PutPrincipal, PutPrincipalHandler } from '#features/principal/put-principal.js';
import { FindQuarantined, FindQuarantinedHandler } from '#features/restore/find-quarantined.js';
import { QuarantineState, QuarantineStateHandler } from '#features/restore/quarantine-state.js';
import { RevertVersion, RevertVersionHandler } from '#features/restore/revert-version.js';
import { RollBack, RollBackHandler } from '#features/restore/roll-back.js';
import type { Db } from '#platform/database/database.js';
import type { CommandRequest } from '#platform/eventstore/command-request.js';
import type { EventStore, Outcome } from '#platform/eventstore/event-store.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Json } from '#platform/kernel/json.js';

import type { Command } from './commands.js';

/** What the product made of a command. */
export type Result =
  | { readonly kind: 'accepted'; readonly version: number; readonly outcome: Outcome }
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'refused'; readonly code: string; readonly message: string };

/** What a request says beside its command. */
export interface Given {
  /** The version that the command names. */
  readonly reference?: number;
  /** The version that it must find. */
  readonly basedOn?: number | undefined;
  readonly isOverriding?: boolean | undefined;
  /** Its Idempotency-Key. */
  readonly key?: string | undefined;
}

/** The real handlers on a real store. */
export class Product {
  readonly #own = new OwnPorts([]);
  readonly #queries: QueryBus;
  readonly #budget: MappingBudget;

  constructor(
    private readonly events: EventStore,
    private readonly db: Db,
    private readonly kinds: SubjectKinds,
  ) {
    this.#budget = new MappingBudget(db);
    const findQuarantined = new FindQuarantinedHandler(db);
    this.#queries = guardedQueries(db, (query) => {
      if (query instanceof FindQuarantined) return findQuarantined.execute(query);
      throw new Error(`no handler for ${query.constructor.name}`);
    });
  }

  async createGateway(gateway: string): Promise<void> {
    await new CreateGatewayHandler(this.events).execute(new CreateGateway(gateway, {}, request(undefined)));
  }

  async run(gateway: string, command: Command, given: Given): Promise<Result> {
    try {
      const outcome = await this.#execute(gateway, command, request(given.basedOn, given.key), given);
      return outcome.unchanged ? { kind: 'unchanged' } : { kind: 'accepted', version: outcome.version, outcome };
    } catch (error) {
      if (error instanceof DomainError) return { kind: 'refused', code: error.code, message: error.message };
      throw error;
    }
  }

  /** @returns false when the subject did not live at the version */
  async quarantine(gateway: string, subject: string, version: number): Promise<boolean> {
    const input = { subject, at: { version }, reason: 'never again' };
    const quarantine = new QuarantineStateHandler(this.events, this.kinds, this.db);
    try {
      await quarantine.execute(new QuarantineState(gateway, input, request(undefined)));
      return true;
    } catch (error) {
      if (error instanceof DomainError && error.code === 'state_not_found') return false;
      throw error;
    }
  }

  /** What the product says leads from one version to the other. */
  difference(gateway: string, from: number, to: number): Promise<VersionDifference> {
    return new ReadDifferenceHandler(this.#queries, this.kinds, this.db).execute(new ReadDifference(gateway, { from, to }, false));
  }

  /** The document as of a version, as it is exported. */
  async export(gateway: string, version: number): Promise<string> {
    const read = new ReadConfigurationHandler(this.kinds, this.db);
    const { document } = await read.execute(new ReadConfiguration(gateway, version, 'json', () => false));
    return document?.text ?? '';
  }

  #import(
    gateway: string,
    document: Json,
    options: ImportOptions & { readonly overrideQuarantine: boolean },
    asked: CommandRequest,
  ): Promise<Outcome> {
    const { overrideQuarantine, ...rest } = options;
    const imported = new ImportConfigurationHandler(this.events, this.kinds, this.#budget, this.#queries, this.db);
    return imported.execute(
      new ImportConfiguration(gateway, parseDocument(document, this.kinds), rest, { mayConfigure: true, overrideQuarantine }, asked),
    );
  }

  async #execute(gateway: string, command: Command, asked: CommandRequest, given: Given): Promise<Outcome> {
    const { events } = this;
    const { reference = 0, isOverriding = false } = given;
    const mayDoAll = { mayConfigure: true, overrideQuarantine: isOverriding };
    const update = (name: string, change: MappingChange) =>
      new UpdateMappingHandler(events, this.#queries, this.#own).execute(new UpdateMapping(gateway, name, change, asked));
    switch (command.kind) {
      case 'create': {
        const input = parseMappingCreate({ name: command.name, ...command.body });
        return new CreateMappingHandler(events, this.#queries, this.#own).execute(new CreateMapping(gateway, input, asked));
      }
      case 'replace':
      case 'upsert':
        return update(command.name, { mode: command.kind, input: parseMappingReplace(command.name, command.body) });
      case 'patch':
        return update(command.name, { mode: 'merge', patch: parseMappingPatch(command.name, command.body) });
      case 'delete':
        return new DeleteMappingHandler(events, this.#queries).execute(new DeleteMapping(gateway, command.name, asked));
      case 'putPrincipal': {
        const state = parsePrincipal(command.name, { fingerprint: command.fingerprint });
        return new PutPrincipalHandler(events).execute(new PutPrincipal(gateway, state, asked));
      }
      case 'deletePrincipal':
        return new DeletePrincipalHandler(events).execute(new DeletePrincipal(gateway, command.name, asked));
      case 'configure': {
        const change = { mode: 'merge', patch: parseSettingsPatch(command.patch) } as const;
        return new ConfigureGatewayHandler(events).execute(new ConfigureGateway(gateway, change, asked));
      }
      case 'rollback': {
        const input = { toVersion: reference, ...mayDoAll, mayCertify: true, includeCertificates: false };
        const rollBack = new RollBackHandler(events, this.kinds, this.#queries, this.db);
        const { outcome, restoredDigest } = await rollBack.execute(new RollBack(gateway, input, asked));
        if (restoredDigest !== outcome.details?.digest)
          throw new Error(`the record says ${outcome.details?.digest}, read back ${restoredDigest}`);
        return outcome;
      }
      case 'revert': {
        const input = { version: reference, ...mayDoAll, mayCertify: true };
        return new RevertVersionHandler(events, this.kinds, this.#queries, this.db).execute(new RevertVersion(gateway, input, asked));
      }
      case 'changeset': {
        const { changes } = parseChangeset({ changes: command.changes } as unknown as Json);
        const apply = new ApplyChangesetHandler(events, this.kinds, this.#budget, this.#queries, this.db);
        return apply.execute(new ApplyChangeset(gateway, changes, mayDoAll, asked));
      }
      case 'import':
        return this.#import(
          gateway,
          command.document as Json,
          { owner: command.owner, prune: command.prune === true, overrideQuarantine: isOverriding },
          asked,
        );
      case 'reimport':
        return this.#import(
          gateway,
          JSON.parse(await this.export(gateway, reference)),
          { owner: undefined, prune: true, overrideQuarantine: isOverriding },
          asked,
        );
    }
  }
}

function request(basedOn: number | undefined, key?: string): CommandRequest {
  const precondition = basedOn === undefined ? {} : { precondition: { streamVersion: basedOn } };
  const idempotency = key === undefined ? {} : { idempotencyKey: key, fingerprint: 'f1'.repeat(32) };
  const context = { commandId: randomUUID(), actor: 'token/oracle', reason: 'a history', ...idempotency };
  return { context, dryRun: false, ...precondition };
}
