import type { Difference } from '#platform/http/json-diff.js';

import { differenceText } from './changes.js';
import type { Colours } from './colours.js';
import { printable } from './printable.js';

/** What differs in Envoy's configuration, resource by resource. */
export interface Rendered {
  readonly changes: readonly {
    readonly resource: string;
    readonly name: string;
    readonly op: 'added' | 'removed' | 'changed';
    readonly diff: readonly Difference[];
  }[];
  readonly renderSha256?: { readonly before: string | null; readonly after: string | null };
}

/** Below a title, each resource as changes are shown: `+`, `-`, `~`, and what differs of it. */
export function renderedText({ changes, renderSha256 }: Rendered, colours: Colours): string {
  const title = colours.faint(
    `In Envoy's configuration: ${changes.length === 0 ? 'no difference' : `${changes.length} ${changes.length === 1 ? 'resource' : 'resources'}`}`,
  );
  const [before, after] = [renderSha256?.before ?? null, renderSha256?.after ?? null];
  const hashes = before === after ? '' : colours.faint(`render ${short(before)} → ${short(after)}\n`);
  const marks = { added: colours.good, removed: colours.bad, changed: colours.doubtful };
  const signs = { added: '+', removed: '-', changed: '~' };
  const resources = changes.map(({ resource, name, op, diff }) => {
    const head = marks[op](`${signs[op]} ${printable(`${resource} ${name}`)}`);
    return `${head}\n${diff.map((difference) => differenceText(difference, colours)).join('')}`;
  });
  return `\n${title}\n${hashes}${resources.join('')}`;
}

function short(hash: string | null): string {
  return hash === null ? 'nothing' : printable(hash.slice(0, 12));
}
