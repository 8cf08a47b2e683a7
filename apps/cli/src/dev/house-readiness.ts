import { readFileSync } from 'node:fs';

import type { Child } from './child.js';
import { TARGET } from './children.js';
import { DevError } from './dev-error.js';
import type { Ports } from './dev-ports.js';
import { answers, childIsReady, type ReadinessCheck, targetIsProven } from './readiness.js';

const MOST_EARLY_DEATHS = 4;

export interface House {
  readonly children: readonly Child[];
  readonly ports: Ports;
  readonly token: string;
  readonly demo: boolean;
  envoyIsKnown(): boolean;
}

/** Everything that must hold before a run may say that it is ready. */
export function houseChecks(house: House): readonly ReadinessCheck[] {
  const { children, ports, token } = house;
  const api = `http://127.0.0.1:${ports.api}`;
  const demos = house.demo
    ? [
        answers('usersvc health', `http://127.0.0.1:${ports.usersvc}/health`),
        answers('gruesvc health', `http://127.0.0.1:${ports.gruesvc}/grue/health`),
      ]
    : [];
  const checks: readonly ReadinessCheck[] = [
    ...children.map(childIsReady),
    ...demos,
    answers('api readiness', `${api}/readyz`),
    targetIsProven(`${api}/v1/gateways/default/targets/${TARGET}`, token),
    { name: 'envoy process', missing: async () => (house.envoyIsKnown() ? undefined : 'the agent has not named its process') },
  ];
  return checks.map((check) => ({
    name: check.name,
    missing: async () => {
      refuseHopeless(children);
      return check.missing();
    },
  }));
}

/** A process that dies again and again before it was ever ready will not get better by waiting. */
function refuseHopeless(children: readonly Child[]): void {
  const hopeless = children.find((child) => child.deaths >= MOST_EARLY_DEATHS && child.state !== 'running');
  if (hopeless === undefined) return;
  const tail = readFileSync(hopeless.logPath, 'utf8').trimEnd().split('\n').slice(-12).join('\n');
  throw new DevError(
    'child_keeps_dying',
    `${hopeless.spec.name} died ${hopeless.deaths} times. The end of its log:\n${tail}`,
    `All of it is in ${hopeless.logPath}.`,
  );
}
