/** What the clients ask for, and what a right answer is, whichever of the changes are in force already. The service answers with its port and the path that it was asked for. */
export interface Lane {
  readonly path: string;
  /** Of the whole body. */
  readonly right: string;
  /** Over TLS. */
  readonly secure?: true;
}

export const lanes: readonly Lane[] = [
  ...[1, 2, 3, 4].map((n) => ({ path: `/moves-${n}/x`, right: `^\\d+ /moves-${n}-r\\d+/x$` })),
  { path: '/rewritten/x', right: '^\\d+ /rewritten-r\\d+/x$' },
  { path: '/deep/part/x', right: '^\\d+ /(deep-r0/part|narrow-r\\d+)/x$' },
  { path: '/named/x', right: '^\\d+ /named-r0/x$' },
  { path: '/still/x', right: '^\\d+ /still-r0/x$' },
  { path: '/secure/x', right: '^\\d+ /secure-r0/x$', secure: true },
];
