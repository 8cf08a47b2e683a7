import type { CommandContext, EventStore, NewEvent, Outcome } from '#platform/eventstore/event-store.js';
import { derivedUuid } from '#platform/kernel/digest.js';
import type { JsonObject } from '#platform/kernel/json.js';

import type { DeploymentView } from './deployment.table.js';

const eventTypes = {
  proven: 'DeploymentProven',
  failed: 'DeploymentFailed',
  superseded: 'DeploymentSuperseded',
  refused: 'DeploymentRefused',
} as const;

/**
 * Writes the terminal record of one push to `deployments/<gateway>`. Doing it again records nothing: the subject is there
 * already, and the command id follows from the release.
 * @throws DomainError as EventStore.handle; call again later.
 */
export function recordDeployment(events: EventStore, deployment: DeploymentView): Promise<Outcome> {
  const subject = `deployment/${deployment.id}`;
  const context: CommandContext = { commandId: recordCommandId(deployment), action: 'RecordDeployment', actor: 'system', reason: null };
  return events.handle({ stream: `deployments/${deployment.gateway}`, subjects: [subject], context }, (view) =>
    view.subject(subject).version > 0 ? [] : [deploymentEvent(deployment)],
  );
}

/** The event of a push that has ended. */
function deploymentEvent(deployment: DeploymentView): NewEvent {
  if (deployment.state === 'running') throw new Error(`deployment ${deployment.id} has not ended`);
  const { id, steps, ...facts } = deployment;
  const state: JsonObject = { ...facts, steps: steps.map((step) => ({ ...step })) };
  return { type: eventTypes[deployment.state], schemaVersion: 2, subject: `deployment/${id}`, state };
}

/** A UUID that any worker derives alike from what was pushed where. */
function recordCommandId({ gateway, target, release, id }: Pick<DeploymentView, 'gateway' | 'target' | 'release' | 'id'>): string {
  return derivedUuid(`deployment\n${gateway}\n${target}\n${release}\n${id}`);
}
