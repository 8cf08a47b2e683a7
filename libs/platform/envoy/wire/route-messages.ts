import type {
  DirectResponse,
  HeaderMatcher,
  HeaderValueOption,
  RedirectAction,
  RetryPolicy,
  Route,
  RouteAction,
  RouteConfiguration,
  RouteMatch,
  ScopedRouteConfiguration,
  StringMatcher,
  VirtualHost,
} from '../model/route.js';
import {
  choice,
  chosenScalar,
  chosenText,
  duration,
  type Message,
  many,
  message,
  one,
  scalar,
  structMap,
  text,
  texts,
  wrapped,
} from './message-fields.js';

/* Field numbers of envoy.config.route.v3 and what it uses of envoy.config.core.v3 and envoy.type.matcher.v3. */

const stringMatcher = message<StringMatcher>({ exact: chosenText(1), suffix: chosenText(3), ignore_case: scalar(6) });

const headerMatcher = message<HeaderMatcher>({ name: text(1), string_match: one(13, stringMatcher) });

const routeMatch = message<RouteMatch>({ prefix: chosenText(1), path: chosenText(2), headers: many(6, headerMatcher) });

const headerValueOption = message<HeaderValueOption>({
  header: one(1, message<HeaderValueOption['header']>({ key: text(1), value: text(2) })),
  append_action: choice(3, { OVERWRITE_IF_EXISTS_OR_ADD: 2 }),
});

const directResponse = message<DirectResponse>({
  status: scalar(1),
  body: one(2, message<NonNullable<DirectResponse['body']>>({ inline_string: chosenText(3) })),
});

const routeAction = message<RouteAction>({
  cluster: chosenText(1),
  prefix_rewrite: text(5),
  timeout: duration(8),
  idle_timeout: duration(24),
});

export const routeMessage: Message<Route> = message<Route>({
  match: one(1, routeMatch),
  route: one(2, routeAction),
  redirect: one(
    3,
    message<RedirectAction>({
      response_code: choice(3, { PERMANENT_REDIRECT: 4 }),
      https_redirect: chosenScalar(4),
      port_redirect: scalar(8),
    }),
  ),
  metadata: one(4, message<NonNullable<Route['metadata']>>({ filter_metadata: structMap(1) })),
  direct_response: one(7, directResponse),
  response_headers_to_add: many(10, headerValueOption),
  request_headers_to_remove: texts(12),
  name: text(14),
  stat_prefix: text(19),
});

const retryPolicy = message<RetryPolicy>({ retry_on: text(1), num_retries: wrapped(2) });

const virtualHost = message<VirtualHost>({
  name: text(1),
  domains: texts(2),
  routes: many(3, routeMessage),
  retry_policy: one(16, retryPolicy),
});

export const routeConfigurationMessage = message<RouteConfiguration>({
  name: text(1),
  virtual_hosts: many(2, virtualHost),
  validate_clusters: wrapped(7),
  request_headers_to_remove: texts(8),
  max_direct_response_body_size_bytes: wrapped(11),
});

/** envoy.config.route.v3.ScopedRouteConfiguration */
export const scopedRouteMessage = message<ScopedRouteConfiguration>({
  name: text(1),
  key: one(
    3,
    message<ScopedRouteConfiguration['key']>({
      fragments: many(1, message<ScopedRouteConfiguration['key']['fragments'][number]>({ string_key: chosenText(1) })),
    }),
  ),
  route_configuration: one(5, routeConfigurationMessage),
});
