import type { Command } from 'commander';

import { gatewayPath } from '../api-client.js';
import { version } from '../option-values.js';
import { paintState } from '../output/colours.js';
import { printable } from '../output/printable.js';
import { facts, table } from '../output/table.js';
import { addApiCommand, addGroup, overApi, type Session } from '../session.js';
import { addDryRun, addReason, type Plan, planText } from '../write-options.js';

interface Rollout {
  readonly policy: { readonly strategy: string; readonly soakS: number };
  readonly state: string;
  readonly headVersion: number;
  readonly releasedVersion: number;
  readonly wave: {
    readonly version: number;
    readonly from: number;
    readonly state: string;
    readonly phase: string;
    readonly targets: readonly string[] | null;
    readonly phaseSince: string | null;
    readonly cause: { readonly message: string } | null;
    readonly since: string;
  } | null;
  readonly freeze: { readonly version: number; readonly by: string; readonly reason: string; readonly since: string } | null;
  readonly hold: {
    readonly id: string;
    readonly version: number;
    readonly state: string;
    readonly losses: readonly {
      readonly kind: string;
      readonly before: number;
      readonly lost: number;
      readonly names: readonly string[];
    }[];
  } | null;
  readonly pins: readonly {
    readonly target: string;
    readonly version: number;
    readonly by: string;
    readonly reason: string;
    readonly since: string;
  }[];
  readonly targets: readonly {
    readonly name: string;
    readonly state: string;
    readonly desiredVersion: number;
    readonly provenVersion: number;
    readonly because: string;
  }[];
}

interface Flags {
  readonly reason?: string;
  readonly dryRun: boolean;
}

/** `rollout`: which version comes to which target, and the switches of that. */
export function addRolloutCommands(program: Command): void {
  const group = addGroup(program, {
    name: 'rollout',
    description: 'which version comes to which target: waves, freezes, pins, promotions and held pushes',
    examples: [
      'chancery rollout status',
      'chancery rollout freeze --reason "the sale begins"',
      'chancery rollout promote 12 --reason "seen it work"',
    ],
  });
  addApiCommand(group, {
    name: 'status',
    description: 'the wave, freeze, pins and held push, and what each target should run',
    examples: ['chancery rollout status', 'chancery rollout status -o json'],
  }).action(overApi(status));
  addSwitch(group, 'freeze', 'leave every target at what it runs', 'the sale begins');
  addSwitch(group, 'unfreeze', 'let versions go on after a freeze', 'the sale is over');
  addSwitch(group, 'halt', 'halt the wave that is under way; its targets go back', 'slow on edge-1');
  addSwitch(group, 'resume', 'begin the waves anew after one was halted, with the newest version', 'it was the database');
  addPins(group);
  addOrderOptions(
    addApiCommand(group, {
      name: 'promote',
      description: 'bring a version to every target at once; the newest without one',
      examples: ['chancery rollout promote --reason "seen it work"', 'chancery rollout promote 12 --reason "seen it work"'],
    }).argument('[version]', 'which one', version),
  ).action(
    overApi((session: Session, number: number | undefined, flags: Flags) =>
      order(session, 'promote', flags, number === undefined ? {} : { version: number }),
    ),
  );
  addOrderOptions(
    addApiCommand(group, {
      name: 'confirm',
      description: 'confirm that a held push may lose what it loses',
      examples: ['chancery rollout confirm 0d9ac1f2e4b36a77 --reason "the old shop is closed"'],
    }).argument('<hold>', 'the id of the hold, as status shows it'),
  ).action(overApi((session: Session, hold: string, flags: Flags) => order(session, 'hold/confirm', flags, { hold })));
}

function addSwitch(group: Command, name: 'freeze' | 'unfreeze' | 'halt' | 'resume', description: string, why: string): void {
  const examples = [`chancery rollout ${name} --reason ${JSON.stringify(why)}`];
  addOrderOptions(addApiCommand(group, { name, description, examples })).action(
    overApi((session: Session, flags: Flags) => order(session, name, flags)),
  );
}

function addPins(group: Command): void {
  addOrderOptions(
    addApiCommand(group, {
      name: 'pin',
      description: 'keep a target at a version, whatever the others run',
      examples: ['chancery rollout pin edge-1 9 --reason "its kernel is old"'],
    })
      .argument('<target>', 'which one')
      .argument('<version>', 'the version that it stays at', version),
  ).action(
    overApi((session: Session, target: string, number: number, flags: Flags) => order(session, 'pins', flags, { target, version: number })),
  );
  const unpin = addApiCommand(group, {
    name: 'unpin',
    description: 'let a pinned target run what the others do',
    examples: ['chancery rollout unpin edge-1 --reason "new kernel"'],
  }).argument('<target>', 'which one');
  addDryRun(addReason(unpin, { required: false })).action(
    overApi(async (session: Session, target: string, { reason, dryRun }: Flags) => {
      const { api, gateway } = session;
      const path = gatewayPath(gateway, 'rollout', 'pins', target);
      const { body } = await api.write<Plan | Rollout>('DELETE', path, { query: { reason, dryRun: dryRun ? true : undefined } });
      return answer(session, body);
    }),
  );
}

function addOrderOptions(command: Command): Command {
  return addDryRun(addReason(command, { required: true }));
}

async function status(session: Session): Promise<undefined> {
  const { body } = await session.api.get<Rollout>(gatewayPath(session.gateway, 'rollout'));
  return answer(session, body);
}

async function order(session: Session, path: string, { reason, dryRun }: Flags, more: object = {}): Promise<undefined> {
  const { api, gateway } = session;
  const { body } = await api.write<Plan | Rollout>('POST', gatewayPath(gateway, 'rollout', ...path.split('/')), {
    body: { ...more, reason },
    query: { dryRun: dryRun ? true : undefined },
  });
  return answer(session, body);
}

async function answer(session: Session, body: Plan | Rollout): Promise<undefined> {
  await session.out.print(body, () => ('dryRun' in body ? planText(body, session.out) : rolloutText(body, session)));
  return undefined;
}

function rolloutText(rollout: Rollout, { out }: Session): string {
  const { policy, state, headVersion, releasedVersion, wave, freeze, hold } = rollout;
  const head = facts([
    ['state', state.replace('_', ' ')],
    ['strategy', policy.strategy],
    ['newest', headVersion],
    ['released', releasedVersion],
    ['frozen', freeze === null ? null : `at version ${freeze.version} since ${freeze.since} by ${freeze.by}: ${freeze.reason}`],
    ['wave', wave === null ? null : waveText(wave)],
    ['because', wave?.state === 'halted' ? wave.cause?.message : null],
    ['hold', hold === null ? null : `${hold.id}, version ${hold.version}: ${hold.state}`],
    ...(hold?.losses ?? []).map(
      ({ kind, before, lost, names }) => [`  ${kind}`, `${lost} of ${before} would go: ${names.join(', ')}`] as const,
    ),
  ]);
  const next = hold?.state === 'held' ? printable(`May it lose them? chancery rollout confirm ${hold.id} --reason ...`).concat('\n') : '';
  return `${head}${next}${rollout.targets.length === 0 ? '' : `\n${targetTable(rollout, out)}`}`;
}

function waveText({ version: number, from, state, phase, targets, phaseSince, since }: NonNullable<Rollout['wave']>): string {
  const what = `version ${number} after ${from}: ${state}`;
  if (state !== 'advancing') return `${what} since ${since}`;
  const where = targets === null ? 'every target' : targets.join(', ');
  return `${what}, ${phase} (${where}), ${phaseSince === null ? 'waiting for its proof' : 'being watched'} since ${since}`;
}

function targetTable({ targets, pins }: Rollout, out: Session['out']): string {
  const pinned = new Map(pins.map((pin) => [pin.target, pin.reason]));
  return table(
    targets,
    [
      { title: 'TARGET', text: (one) => one.name },
      { title: 'STATE', text: (one) => one.state, paint: (text) => paintState(out.colours, text) },
      { title: 'DESIRED', text: (one) => one.desiredVersion, align: 'right' },
      { title: 'PROVEN', text: (one) => one.provenVersion, align: 'right' },
      { title: 'BECAUSE', text: (one) => (pinned.has(one.name) ? `${one.because}: ${pinned.get(one.name)}` : one.because) },
    ],
    out.colours.faint,
  );
}
