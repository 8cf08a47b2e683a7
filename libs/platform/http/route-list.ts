/** One route as it was registered: `GET /v1/gateways/:gateway/mappings`. */
export interface RegisteredRoute {
  readonly method: string;
  readonly url: string;
}

/** Every route that exists, as Fastify was told: what the 405 answer, the interface description and the tests go by. */
export class RouteList {
  readonly #routes: RegisteredRoute[] = [];

  add(method: string | readonly string[], url: string): void {
    for (const one of typeof method === 'string' ? [method] : method) this.#routes.push({ method: one, url });
  }

  all(): readonly RegisteredRoute[] {
    return this.#routes;
  }

  /** The methods that exist at a path (without query), sorted; empty when there is nothing there. */
  methodsAt(path: string): string[] {
    const parts = path.split('/');
    const fitting = this.#routes.filter((route) => fits(route.url.split('/'), parts));
    return [...new Set(fitting.map((route) => route.method))].sort();
  }
}

function fits(pattern: readonly string[], parts: readonly string[]): boolean {
  const rest = pattern.at(-1) === '*';
  if (rest ? parts.length < pattern.length : parts.length !== pattern.length) return false;
  return pattern.every((part, index) => part === '*' || (part.startsWith(':') ? parts[index] !== '' : part === parts[index]));
}
