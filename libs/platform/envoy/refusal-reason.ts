const longest = 300;
const logHead = /^\[\d{4}-[^\]]*\]\[\d+\]\[(\w+)\]\[([^\]]*)\] (?:\[[^\]]*\] )?/;

/**
 * Why Envoy refused a configuration, from what it logged: its own words, in one line of at most 300 characters, without what only its
 * developers or its neighbours need: times, source files, the configuration's file name, and the configuration itself, which Envoy prints
 * whole before the cause of some refusals (with the node's secret in it). Of a chain of causes the innermost stays, with the place in the
 * message that it is about: `Match.Headers[0].Name: value does not match regex pattern "..."`. Of a crash it is the words before the
 * backtrace. '' when the log says nothing.
 */
export function refusalReason(log: string): string {
  const entries = entriesOf(log);
  const telling = entries.filter(({ level, logger }) => (level === 'critical' || level === 'error') && logger !== 'backtrace');
  const chosen = telling.at(-1) ?? entries.at(-1);
  const words = innermost(withoutDump(chosen?.text ?? '')).replace(/^error initializing config(?:uration)? '[^']*': /, '');
  const line = words.replace(/\s+/g, ' ').trim();
  return line.length <= longest ? line : `${line.slice(0, longest - 6)} [cut]`;
}

interface Entry {
  readonly level: string;
  readonly logger: string;
  text: string;
}

/** What was logged in one go may have many lines; only the first has a head. The log may begin in the middle of one, because it is read from its end. */
function entriesOf(log: string): Entry[] {
  const entries: Entry[] = [];
  for (const line of log.split('\n')) {
    const head = logHead.exec(line);
    const last = entries.at(-1);
    if (head !== null) entries.push({ level: head[1] ?? '', logger: head[2] ?? '', text: line.slice(head[0].length) });
    else if (last !== undefined) last.text += `\n${line}`;
    else if (line.trim() !== '') entries.push({ level: 'unknown', logger: 'unknown', text: line });
  }
  return entries;
}

/** Protobuf's text form of the configuration, marked or cut off at its head, ends where a line begins with a colon. */
function withoutDump(text: string): string {
  const end = text.lastIndexOf('\n: ');
  if (end !== -1) return text.slice(end + 3);
  const marked = text.indexOf('goo.gle/debug');
  if (marked === -1) return text;
  const cause = text.lastIndexOf(': Proto constraint validation failed');
  return cause === -1 ? text.slice(0, marked) : text.slice(cause + 2);
}

/** `Proto constraint validation failed (AValidationError.B: embedded message failed validation | caused by ...)`: the last cause and its place. */
function innermost(text: string): string {
  const chain = /Proto constraint validation failed \(([\s\S]*)\)\s*$/.exec(text)?.[1]?.split(' | caused by ');
  const cause = /^\w+\.[\w[\]"-]+: ([\s\S]*)$/.exec(chain?.at(-1) ?? '')?.[1];
  if (chain === undefined || cause === undefined) return text;
  const places = chain.map((link) => /^\w+\.([\w[\]"-]+): /.exec(link)?.[1] ?? '?');
  return `${places.slice(-3).join('.')}: ${cause}`;
}
