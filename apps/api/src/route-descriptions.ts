import { Injectable, RequestMethod } from '@nestjs/common';
import { DiscoveryService, MetadataScanner, Reflector } from '@nestjs/core';

import { PUBLIC, SCOPES } from '#platform/http/access.decorators.js';
import { DESCRIPTION, type RouteDescription } from '#platform/http/describe.decorator.js';
import type { DescribedRoute } from '#platform/http/openapi.js';

/** Nest's own metadata keys for routes. */
const PATH = 'path';
const METHOD = 'method';

/** Finds every route of every controller, with what it says of itself. */
@Injectable()
export class RouteDescriptions {
  constructor(
    private readonly discovery: DiscoveryService,
    private readonly scanner: MetadataScanner,
    private readonly reflector: Reflector,
  ) {}

  all(): DescribedRoute[] {
    return this.discovery.getControllers().flatMap(({ instance, metatype }) => {
      if (metatype === null || instance === undefined) return [];
      const base = Reflect.getMetadata(PATH, metatype) as string;
      const names = this.scanner.getAllMethodNames(Object.getPrototypeOf(instance));
      return names.flatMap((name) => this.route(base, metatype, instance[name], `${metatype.name.replace(/Controller$/, '')}_${name}`));
    });
  }

  private route(base: string, controller: object, handler: object, operationId: string): DescribedRoute[] {
    const path = Reflect.getMetadata(PATH, handler) as string | undefined;
    if (path === undefined) return [];
    const places = [handler, controller] as Parameters<Reflector['getAllAndOverride']>[1];
    return [
      {
        method: RequestMethod[Reflect.getMetadata(METHOD, handler) as number] ?? 'GET',
        url: `/${[base, path]
          .map((part) => part.replace(/^\/+|\/+$/g, ''))
          .filter((part) => part !== '')
          .join('/')}`,
        operationId,
        public: this.reflector.getAllAndOverride<boolean>(PUBLIC, places) === true,
        scopes: this.reflector.getAllAndOverride<readonly string[]>(SCOPES, places) ?? [],
        description: Reflect.getMetadata(DESCRIPTION, handler) as RouteDescription | undefined,
      },
    ];
  }
}
