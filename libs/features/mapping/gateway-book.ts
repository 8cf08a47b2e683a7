import type { JsonObject } from '#platform/kernel/json.js';

import { fromJson } from './mapping-state.js';
import { RouteBook } from './route-book.js';

/** What the routes of a gateway are at one version, and what is tested of them. */
export class GatewayBook {
  readonly routes = new RouteBook();
  /** The states of the route tests, by name. */
  readonly tests = new Map<string, JsonObject>();
  /** Of the gateway. */
  version = 0;

  /** A subject's new state; null when it ended. */
  take(subject: string, state: JsonObject | null): void {
    const slash = subject.indexOf('/');
    const [kind, name] = [subject.slice(0, slash), subject.slice(slash + 1)];
    if (kind === 'mapping') {
      if (state === null) this.routes.remove(name);
      else this.routes.put(fromJson(name, state));
    } else if (kind === 'route-test') {
      if (state === null) this.tests.delete(name);
      else this.tests.set(name, state);
    }
  }
}
