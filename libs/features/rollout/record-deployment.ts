import { createHash } from 'node:crypto';

import type { CommandContext, EventStore, NewEvent, Outcome } from '#platform/eventstore/event-store.js';
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
  return { type: eventTypes[deployment.state], schemaVersion: 1, subject: `deployment/${id}`, state };
}

/** A UUID that any worker derives alike from what was pushed where. */
function recordCommandId(deployment: Pick<DeploymentView, 'gateway' | 'target' | 'release' | 'id'>): string {
  const bytes = createHash('sha256')
    .update(`deployment\n${deployment.gateway}\n${deployment.target}\n${deployment.release}\n${deployment.id}`)
    .digest();
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x80; // version 8: made by a rule of our own (RFC 9562)
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = bytes.toString('hex').slice(0, 32);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
