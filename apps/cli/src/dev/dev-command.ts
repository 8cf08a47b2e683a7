import type { Command } from 'commander';

import { readDevConfig } from '#platform/config/dev-config.js';

import { DevError } from './dev-error.js';
import type { DevOptions } from './dev-options.js';
import { jsonReporter, type Reporter, textReporter } from './reporter.js';
import type { Supervisor } from './supervisor.js';

interface Flags {
  readonly data: string;
  readonly apiPort: number;
  readonly httpPort: number;
  readonly httpsPort: number;
  readonly demo: boolean;
  readonly fresh: boolean;
  readonly json: boolean;
}

/** `dev`: what bin/dev hands over to, once Node and the packages are there. */
export function addDevCommand(program: Command, options: { defaultData: string; port: (text: string) => number }): void {
  program
    .command('dev')
    .description('start everything on this machine, for development (bin/dev runs this)')
    .option('--data <dir>', 'the folder for everything it keeps', options.defaultData)
    .option('--api-port <n>', 'the REST API; 0 takes a free port', options.port, 8888)
    .option('--http-port <n>', "the gateway's plain HTTP; 0 takes a free port", options.port, 8080)
    .option('--https-port <n>', "the gateway's TLS, once there is a certificate; 0 takes a free port", options.port, 8443)
    .option('--no-demo', 'without the demo services')
    .option('--fresh', 'forget the data first', false)
    .option('--json', 'one JSON object per line on stdout', false)
    .addHelpText(
      'after',
      '\nExamples:\n  bin/dev\n  bin/dev --data /tmp/try --api-port 0 --http-port 0 --https-port 0\n  bin/dev --fresh --no-demo',
    )
    .action(async (flags: Flags) => {
      process.exitCode = await runDev(flags);
    });
}

/** Runs until a signal or a failure. @returns the exit status: 0 ended as asked, 1 could not start or go on. */
async function runDev(flags: Flags): Promise<number> {
  const config = readDevConfig();
  const colour = process.stdout.isTTY === true && !config.noColor;
  const write = (line: string) => void process.stdout.write(line);
  // A reader that has gone (bin/dev --json | head -1) is no reason to fall over with everything still running.
  process.stdout.on('error', () => undefined);
  const reporter = flags.json ? jsonReporter(write) : textReporter(write, colour);
  const options: DevOptions = {
    data: flags.data,
    ports: { api: flags.apiPort, http: flags.httpPort, https: flags.httpsPort },
    demo: flags.demo,
    fresh: flags.fresh,
  };
  const { Supervisor: House } = await import('./supervisor.js'); // only here, so that the other commands start quickly
  const supervisor = new House(options, config, reporter);
  const asked = untilSignalled(supervisor, reporter);
  let status = 0;
  try {
    await supervisor.start();
    await asked;
  } catch (error) {
    // Asked to end in the middle of the start: what fails then fails because of that.
    if (!supervisor.stopping) {
      status = 1;
      report(reporter, error, flags.json);
    }
  }
  await supervisor.stop();
  if (status === 0) reporter.stopped();
  return status;
}

/** Resolves at the first SIGINT, SIGTERM or SIGHUP, having begun to stop; each further one hurries. */
function untilSignalled(supervisor: Supervisor, reporter: Reporter): Promise<void> {
  return new Promise((resolve) => {
    let signals = 0;
    const onSignal = (signal: string) => {
      signals += 1;
      if (signals > 1) {
        reporter.stopping('killing what is left; Postgres is given the moment it needs');
        return supervisor.hurry();
      }
      reporter.stopping(`${signal}: ending everything in order (again: at once)`);
      void supervisor.stop().then(resolve);
    };
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, onSignal);
  });
}

function report(reporter: Reporter, error: unknown, json: boolean): void {
  const failure = error instanceof DevError ? error : undefined;
  const message = error instanceof Error ? error.message : String(error);
  const nextStep = failure?.nextStep ?? 'This is a defect of bin/dev: the trace above says where. The data is untouched.';
  if (failure === undefined && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  reporter.failed({ code: failure?.code ?? 'defect', message, nextStep });
  if (json) process.stderr.write(`${message}\nNext: ${nextStep}\n`);
}
