import { type Command, InvalidArgumentError } from 'commander';

import { readDocumentValue } from '../document-file.js';
import { duration, pairs, several, wholeNumber } from '../option-values.js';
import { UsageError } from '../usage-error.js';

/** A mapping's fields as options. What is not given stays out of the body. */
export interface FieldFlags {
  readonly file?: string;
  readonly host?: string;
  readonly prefix?: string;
  readonly path?: string;
  readonly service?: string;
  readonly rewrite?: string;
  readonly method?: readonly string[];
  readonly header?: Readonly<Record<string, string>>;
  readonly precedence?: number;
  readonly timeout?: number;
  readonly label?: Readonly<Record<string, string>>;
  readonly unset?: readonly string[];
}

const unsettable = ['host', 'prefix', 'path', 'rewrite', 'methods', 'headers', 'precedence', 'timeoutMs', 'labels'];

export function addMappingFields(command: Command, { unset = false } = {}): Command {
  command
    .option('-f, --file <file>', 'the fields, as YAML or JSON; - reads them from stdin. Options go before it')
    .option('--host <host>', '"*", a name, or "*." before a suffix')
    .option('--prefix <prefix>', 'matches every path that starts with it')
    .option('--path <path>', 'matches this path only')
    .option('--service <service>', 'where requests go: [http://|https://]name[.namespace][:port]')
    .option('--rewrite <path>', 'takes the place of the matched prefix or path')
    .option('--method <method>', 'only this method; may be given several times', several)
    .option('--header <name=value>', 'only requests with this header; may be given several times', pairs)
    .option('--precedence <n>', 'higher is asked first among the mappings of one host', wholeNumber)
    .option('--timeout <time>', 'how long the service may take: 5s, 250ms', duration)
    .option('--label <key=value>', 'for people and filters; may be given several times', pairs);
  return unset ? command.option('--unset <field>', `take a field back to its default: ${unsettable.join(', ')}`, unsetField) : command;
}

function unsetField(text: string, before: readonly string[] | undefined): readonly string[] {
  if (!unsettable.includes(text)) throw new InvalidArgumentError(`It must be one of ${unsettable.join(', ')}.`);
  return several(text, before);
}

/** The whole mapping: the file's fields with the options over them. */
export async function mappingBody(flags: FieldFlags): Promise<Record<string, unknown>> {
  return { ...(await fileFields(flags)), ...fields(flags) };
}

/** What is to be changed (RFC 7396). @throws UsageError when that is nothing. */
export async function mappingPatch(flags: FieldFlags): Promise<Record<string, unknown>> {
  const unset = Object.fromEntries((flags.unset ?? []).map((field) => [field, null]));
  const body = { ...(await mappingBody(flags)), ...unset };
  if (Object.keys(body).length === 0) throw new UsageError('Nothing to change was given; --help shows the fields.');
  return body;
}

function fields(flags: FieldFlags): Record<string, unknown> {
  const { host, prefix, path, service, rewrite, method, header, precedence, timeout, label } = flags;
  const all = { host, prefix, path, service, rewrite, methods: method, headers: header, precedence, timeoutMs: timeout, labels: label };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

async function fileFields({ file }: FieldFlags): Promise<object> {
  if (file === undefined) return {};
  const value = await readDocumentValue(file, process.stdin);
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw new UsageError(`${file} must hold the fields of one mapping: an object.`);
}
