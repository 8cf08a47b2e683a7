import { readFileSync } from 'node:fs';

import type { Child } from './child.js';
import { TARGET } from './children.js';
import { DevError } from './dev-error.js';
import type { Ports } from './dev-ports.js';
import { answers, childIsReady, type ReadinessCheck, send, targetIsProven } from './readiness.js';

const MOST_EARLY_DEATHS = 4;

/**
 * A hot restart's window on a development machine, short so that the next change need not wait long: lossless for requests and pauses below four
 * seconds (parent shutdown less drain); idle connections are closed before that.
 */
const DEV_WINDOW = { drainTimeS: 1, parentShutdownTimeS: 5, idleTimeoutMs: 3_000 };

export interface House {
  readonly children: readonly Child[];
  readonly ports: Ports;
  readonly token: string;
  readonly demo: boolean;
  /** Once per data folder; afterwards the settings are the user's. */
  readonly settingsAreOurs: boolean;
  onSettingsApplied(): void;
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
    ...(house.settingsAreOurs ? [applySettings(house, api)] : []),
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

function applySettings(house: House, api: string): ReadinessCheck {
  return {
    name: 'settings',
    missing: async () => {
      const { status, body } = await send('PATCH', `${api}/v1/gateways/default/settings`, {
        token: house.token,
        body: DEV_WINDOW,
        contentType: 'application/merge-patch+json',
      });
      if (status === 422 || status === 400) {
        throw new DevError(
          'settings_refused',
          `The API refuses the settings of a development machine: ${JSON.stringify(body)}`,
          'This is a defect of bin/dev.',
        );
      }
      if (status !== 200) return `the API answers ${status}${status === 0 ? '' : `: ${JSON.stringify(body)}`}`;
      house.onSettingsApplied();
      return undefined;
    },
  };
}
