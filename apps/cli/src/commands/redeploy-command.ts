import type { Command } from 'commander';

import { gatewayPath } from '../api-client.js';
import { several } from '../option-values.js';
import { addApiCommand, overApi, type Session } from '../session.js';
import { addReason } from '../write-options.js';

/** `redeploy`: push the current version again. */
export function addRedeployCommand(program: Command): void {
  const command = addApiCommand(program, {
    name: 'redeploy',
    description: 'push the current version again, to every target or to those that are named',
    examples: [
      'chancery redeploy --reason "new disk"',
      'chancery redeploy --target edge-1 --target edge-2 --reason "clock was wrong" --force',
    ],
  }).option('--target <name>', 'only this one; may be given several times', several);
  addReason(command, { required: true })
    .option('--force', 'at once, and even if nothing changed; requests that are under way may be cut', false)
    .action(overApi(redeploy));
}

async function redeploy({ api, gateway, out }: Session, flags: { target?: string[]; reason: string; force: boolean }): Promise<undefined> {
  const { body } = await api.write<{ id: string; targets: string[] | null }>('POST', gatewayPath(gateway, 'redeployments'), {
    body: { reason: flags.reason, force: flags.force, ...(flags.target === undefined ? {} : { targets: flags.target }) },
  });
  const whom = body.targets === null ? 'every target' : body.targets.join(', ');
  await out.print(body, () => `Asked for (${body.id}): ${whom}. chancery status shows it go on.\n`);
  return undefined;
}
