import { describe, expect, it } from '@jest/globals';
import type { Command } from 'commander';

import { createProgram } from './program.js';

const all = (command: Command): Command[] => [command, ...command.commands.flatMap(all)];
const names = (command: Command): string => (command.parent === null ? '' : `${names(command.parent)} ${command.name()}`);
const commands = all(createProgram('/checkout/'));

function helpOf(command: Command): string {
  let text = '';
  command.configureOutput({ writeOut: (part) => (text += part) }).outputHelp();
  return text;
}

describe('the help', () => {
  it('tells of every command', () => {
    expect(commands.map(names).sort()).toEqual(
      [
        '',
        ...[
          'apply',
          'audit',
          'confirm',
          'dev',
          'diff',
          'explain',
          'export',
          'history',
          'login',
          'logout',
          'migrate',
          'plan',
          'recover',
          'redeploy',
          'revert',
        ],
        ...['rollback', 'show', 'status', 'verify', 'wait'],
        ...[
          'mapping',
          'mapping create',
          'mapping delete',
          'mapping get',
          'mapping history',
          'mapping list',
          'mapping patch',
          'mapping set',
        ],
        ...[
          'envoy',
          'envoy bootstrap',
          'projector',
          'projector rebuild',
          'quarantine',
          'quarantine add',
          'quarantine lift',
          'quarantine list',
        ],
        ...['rollout', 'rollout confirm', 'rollout freeze', 'rollout halt', 'rollout pin', 'rollout promote'],
        ...['rollout resume', 'rollout status', 'rollout unfreeze', 'rollout unpin'],
        ...['route-test', 'route-test delete', 'route-test get', 'route-test list', 'route-test set'],
        ...['cert', 'cert list', 'cert push', 'cert remove', 'cert show'],
        ...['keys', 'keys add', 'keys list', 'keys make', 'keys remove', 'keys rotate'],
        ...['token', 'token create', 'token list', 'token revoke'],
      ]
        .map((name) => (name === '' ? '' : ` ${name}`))
        .sort(),
    );
  });

  it.each(commands.map((command) => [names(command), command] as const))('of chancery%s describes it and has examples', (name, command) => {
    const help = helpOf(command);
    expect(command.description()).not.toBe('');
    for (const option of command.options) expect(option.description).not.toBe('');
    const examples = help.split('\nExamples:\n')[1]?.trimEnd().split('\n') ?? [];
    expect(examples.length).toBeGreaterThan(0);
    for (const example of examples) expect(example).toMatch(/\b(chancery|bin\/dev)\b/);
    if (name !== '' && name !== ' dev') expect(examples.some((example) => example.includes(`chancery${name}`))).toBe(true);
  });
});
