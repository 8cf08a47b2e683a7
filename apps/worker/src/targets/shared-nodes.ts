import { randomBytes } from 'node:crypto';

import { nodeResources } from '#features/layout/node-resources.js';
import { ResourceSet } from '#platform/xds/resource-set.js';
import { resourceId } from '#platform/xds/xds-resource.js';
import type { LiveLane } from '../live/live-lane.js';
import type { NodeBasis } from '../live/node-basis.js';
import type { NodeSecrets } from '../secrets/lane-secrets.js';

/** What Envoys without an agent have beside the resources of their lane; those that have the same share it. */
export interface SharedNode {
  readonly set: ResourceSet;
}

class Node implements SharedNode {
  readonly set = new ResourceSet();
  users = 0;
  #basis: NodeBasis | undefined;
  #secrets: NodeSecrets | undefined;

  constructor(
    readonly lane: LiveLane,
    readonly proofSecret: string,
  ) {}

  /** Brings it up to the lane. */
  refresh(): void {
    const { basis, secrets, source } = this.lane;
    if (basis === this.#basis && secrets === this.#secrets) return;
    const node = { http: null, https: null, proofSecret: this.proofSecret };
    const { overlay } = nodeResources({ gateway: source.gateway, ...basis, node });
    const own = [...overlay, ...secrets.resources];
    const names = new Set(own.map(resourceId));
    this.set.apply({ upserts: own, removed: [...this.set].filter((resource) => !names.has(resourceId(resource))) });
    this.#basis = basis;
    this.#secrets = secrets;
  }
}

/**
 * A listener, a filter and a scope for each Envoy would be most of what it costs, and nobody asks an Envoy without an agent for its markers: all of a gateway
 * have one secret, so that a thousand of them hold the same bytes. Rows from before keep the secret that they have.
 */
export class SharedNodes {
  readonly #nodes = new Map<LiveLane, Map<string, Node>>();
  readonly #secrets = new Map<string, string>();

  /** The secret of an Envoy that is enrolled now, unless the gateway has one already. */
  secretOf(gateway: string): string {
    const secret = this.#secrets.get(gateway) ?? randomBytes(24).toString('base64url');
    this.#secrets.set(gateway, secret);
    return secret;
  }

  join(lane: LiveLane, proofSecret: string): SharedNode {
    const nodes = this.#nodes.get(lane) ?? new Map<string, Node>();
    this.#nodes.set(lane, nodes);
    const node = nodes.get(proofSecret) ?? new Node(lane, proofSecret);
    nodes.set(proofSecret, node);
    node.users += 1;
    node.refresh();
    return node;
  }

  leave(lane: LiveLane, left: SharedNode): void {
    const nodes = this.#nodes.get(lane);
    for (const [secret, node] of nodes ?? []) {
      if (node !== left) continue;
      node.users -= 1;
      if (node.users === 0) nodes?.delete(secret);
      if (nodes?.size === 0) this.#nodes.delete(lane);
    }
  }

  /** The lanes of a gateway have changed. */
  refresh(gateway: string): void {
    for (const [lane, nodes] of this.#nodes) if (lane.source.gateway === gateway) for (const node of nodes.values()) node.refresh();
  }
}
