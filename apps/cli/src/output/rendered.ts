import type { Json } from '#platform/kernel/json.js';

import { type Change, changesText } from './changes.js';
import type { Colours } from './colours.js';
import { printable } from './printable.js';

/**
 * What differs in Envoy's configuration. Its shape is the compiler's and grows with it: lists of changes are shown as changes, anything else as JSON,
 * so that nothing of it is left out.
 */
export function renderedText(rendered: Json, colours: Colours): string {
  const head = `\n${colours.faint("In Envoy's configuration:")}\n`;
  if (typeof rendered !== 'object' || rendered === null) return `${head}${printable(JSON.stringify(rendered))}\n`;
  const sections = Array.isArray(rendered) ? [['changes', rendered as Json] as const] : Object.entries(rendered);
  return head + sections.map(([name, value]) => section(name, value, colours)).join('');
}

function section(name: string, value: Json, colours: Colours): string {
  const title = colours.strong(`${printable(name)}:`);
  if (!Array.isArray(value)) return `${title} ${printable(JSON.stringify(value))}\n`;
  if (value.length === 0) return `${title} no difference\n`;
  const changes = (value as readonly Json[]).map(asChange);
  if (changes.every((change) => change !== undefined)) return `${title}\n${changesText(changes, colours)}`;
  return `${title}\n${(value as readonly Json[]).map((one) => `  ${printable(JSON.stringify(one))}\n`).join('')}`;
}

/** An item that has a name and what was before and after, whatever the name's member is called. */
function asChange(item: Json): Change | undefined {
  if (typeof item !== 'object' || item === null || Array.isArray(item)) return undefined;
  const members = item as Readonly<Record<string, Json>>;
  const type = members.kind ?? members.type;
  const name = members.subject ?? members.resource ?? members.name;
  if (typeof name !== 'string' || !('before' in members || 'after' in members || 'diff' in members)) return undefined;
  return { ...members, subject: typeof type === 'string' ? `${type} ${name}` : name } as Change;
}
