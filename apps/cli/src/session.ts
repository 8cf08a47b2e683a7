import { fileURLToPath } from 'node:url';
import { type Command, Help, type HelpConfiguration, InvalidArgumentError, Option } from 'commander';

import { type CliConfig, readCliConfig } from '#platform/config/cli-config.js';
import { ConfigError } from '#platform/config/environment.js';

import { ApiClient } from './api-client.js';
import { type ConnectionSources, findConnection } from './connection.js';
import { exitStatus } from './exit-status.js';
import { duration } from './option-values.js';
import { coloursFor, wantsColours } from './output/colours.js';
import { type Format, formats, Output } from './output/output.js';
import { storedLoginPath } from './stored-login.js';
import { UsageError } from './usage-error.js';

/** What every command over the API works with. */
export interface Session {
  readonly api: ApiClient;
  readonly gateway: string;
  /** True when `--gateway` was given, for the commands that look at all gateways otherwise. */
  readonly gatewayGiven: boolean;
  readonly out: Output;
  /** The file of the checkout and the places that `login` writes to. */
  readonly places: Pick<ConnectionSources, 'storedLogin' | 'checkoutToken' | 'checkoutState'>;
  readonly config: CliConfig;
  readonly options: GlobalOptions;
}

interface GlobalOptions {
  readonly api?: string;
  readonly gateway: string;
  readonly tokenFile?: string;
  readonly output: Format;
  readonly color: boolean;
  readonly requestTimeout: number;
}

const globalNames = ['api', 'gateway', 'tokenFile', 'output', 'color', 'requestTimeout'] as const;

const DEFAULT_TIMEOUT_MS = 30_000;
const heading = 'Options of every command over the API:';

/** Adds what every command over the API takes. The same options may stand before the command's name, so the program has them too. */
export function addGlobalOptions(command: Command): Command {
  const options = [
    new Option(
      '--api <url>',
      'the address of the API (CHANCERY_API; else where chancery login was; else that of bin/dev; else http://127.0.0.1:8888)',
    ),
    new Option('--gateway <name>', 'which gateway').default('default'),
    new Option(
      '--token-file <file>',
      'a file with the token (CHANCERY_TOKEN, CHANCERY_TOKEN_FILE; else that of chancery login; else that of bin/dev)',
    ),
    new Option('-o, --output <format>', 'how to answer').choices(formats).default('table'),
    new Option('--no-color', 'no colours (NO_COLOR; FORCE_COLOR wants them without a terminal too)'),
    new Option('--request-timeout <time>', 'how long to wait for an answer').argParser(timeout).default(DEFAULT_TIMEOUT_MS, '30s'),
  ];
  for (const option of options) command.addOption(option.helpGroup(heading));
  return command;
}

function timeout(text: string): number {
  const ms = duration(text);
  if (ms < 1 || ms > 3_600_000) throw new InvalidArgumentError('It must be from 1ms to 1h.');
  return ms;
}

/** Help of a command: its own options come first, those of every command last. */
export const helpOrder: HelpConfiguration = {
  groupItems<T extends Command | Option>(unsorted: T[], visible: T[], groupOf: (item: T) => string): Map<string, T[]> {
    const groups = new Help().groupItems(unsorted, visible, groupOf);
    const last = groups.get(heading);
    if (last !== undefined && groups.delete(heading)) groups.set(heading, last);
    return groups;
  },
};

/** What is shown of a command: one sentence, and lines that can be pasted. */
export interface CommandText {
  readonly name: string;
  readonly description: string;
  readonly examples: readonly string[];
}

/** A group of commands, such as `mapping`. */
export function addGroup(parent: Command, { name, description, examples }: CommandText): Command {
  return parent.command(name).description(description).addHelpText('after', examplesText(examples));
}

/** A command over the API. Options and arguments of its own are for the caller to add. */
export function addApiCommand(parent: Command, text: CommandText): Command {
  return addGlobalOptions(addGroup(parent, text));
}

export function examplesText(examples: readonly string[]): string {
  return `\nExamples:\n${examples.map((example) => `  ${example}`).join('\n')}`;
}

/** The session that a command's options, the environment and the stored login describe. @throws UsageError for what cannot be used. */
export function openSession(command: Command): Session {
  const options = mergedOptions(command);
  const config = readEnvironment();
  const places = {
    storedLogin: storedLoginPath(config.configHome),
    checkoutToken: ofCheckout('token'),
    checkoutState: ofCheckout('dev.json'),
  };
  const connection = findConnection({ api: options.api, tokenFile: options.tokenFile, config, ...places });
  const colours = wantsColours({ flag: options.color, ...config }, process.stdout.isTTY === true);
  return {
    api: new ApiClient(connection, options.requestTimeout),
    gateway: options.gateway,
    gatewayGiven: sourceOf(command, 'gateway') !== undefined,
    out: new Output(options.output, coloursFor(colours), process.stdout, process.stderr),
    places,
    config,
    options,
  };
}

/** The options as said nearest to the end of the line; `--gateway a history --gateway b` means b. */
function mergedOptions(command: Command): GlobalOptions {
  const values = globalNames.map((name) => [name, (sourceOf(command, name) ?? command).getOptionValue(name)] as const);
  return Object.fromEntries(values.filter(([, value]) => value !== undefined)) as unknown as GlobalOptions;
}

/** The command, or the one above it, on which the option was given. */
export function sourceOf(command: Command, option: string): Command | undefined {
  for (let at: Command | null = command; at !== null; at = at.parent) if (at.getOptionValueSource(option) === 'cli') return at;
  return undefined;
}

function readEnvironment(): CliConfig {
  try {
    return readCliConfig();
  } catch (error) {
    throw error instanceof ConfigError ? new UsageError(error.message) : error;
  }
}

/** A file that the checkout's `bin/dev` keeps; dist/apps/cli/src/ is four folders below the checkout. */
function ofCheckout(file: string): string {
  return fileURLToPath(new URL(`../../../../.chancery/${file}`, import.meta.url));
}

/**
 * Makes a commander action of a function over a session. It gets the command's arguments and then its own options, without those that the session has
 * made use of. What it answers is the exit status; nothing is 0.
 */
export function overApi<A extends readonly unknown[]>(action: (session: Session, ...parameters: A) => Promise<number | undefined>) {
  return async (...parameters: readonly unknown[]): Promise<void> => {
    const command = parameters.at(-1) as Command;
    const own = Object.entries(command.opts()).filter(([name]) => !(globalNames as readonly string[]).includes(name));
    const given = [...parameters.slice(0, -2), Object.fromEntries(own)] as unknown as A;
    // A reader that has had enough (chancery history | head -1) is no failure, and ends what would go on printing.
    process.stdout.once('error', (error: NodeJS.ErrnoException) =>
      process.exit(error.code === 'EPIPE' ? exitStatus.done : exitStatus.failed),
    );
    process.exitCode = (await action(openSession(command), ...given)) ?? exitStatus.done;
  };
}
