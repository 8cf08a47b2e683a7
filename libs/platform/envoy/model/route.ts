/** Envoy's route messages in protobuf JSON, as far as Chancery writes them (envoy.config.route.v3). */

/** Exactly one of `exact` and `suffix`. */
export interface StringMatcher {
  readonly exact?: string;
  readonly suffix?: string;
  readonly ignore_case?: true;
}

export interface HeaderMatcher {
  readonly name: string;
  readonly string_match: StringMatcher;
}

export interface RouteMatch {
  /** Exactly one of the two. */
  readonly prefix?: string;
  readonly path?: string;
  readonly headers?: readonly HeaderMatcher[];
}

export interface HeaderValueOption {
  /** `%` in the value starts an operator: user text goes through `literal`. */
  readonly header: { readonly key: string; readonly value: string };
  readonly append_action: 'OVERWRITE_IF_EXISTS_OR_ADD';
}

export interface DirectResponse {
  readonly status: number;
  readonly body?: { readonly inline_string: string };
}

export interface RouteAction {
  readonly cluster: string;
  readonly timeout: string;
  /** How long the stream may be silent; only where the connection manager's own limit would cut in before the timeout. */
  readonly idle_timeout?: string;
  readonly prefix_rewrite?: string;
}

/** To the same place over https. */
export interface RedirectAction {
  readonly https_redirect: true;
  readonly port_redirect: number;
  /** 308: the method and the body stay. */
  readonly response_code: 'PERMANENT_REDIRECT';
}

export interface Route {
  readonly name: string;
  readonly match: RouteMatch;
  /** Exactly one of the three. */
  readonly route?: RouteAction;
  readonly redirect?: RedirectAction;
  readonly direct_response?: DirectResponse;
  readonly stat_prefix?: string;
  /** What filters may read, by the name of their configuration. */
  readonly metadata?: { readonly filter_metadata: Readonly<Record<string, Readonly<Record<string, string | number | boolean>>>> };
  readonly response_headers_to_add?: readonly HeaderValueOption[];
  readonly request_headers_to_remove?: readonly string[];
}

export interface RetryPolicy {
  readonly retry_on: string;
  readonly num_retries: number;
}

export interface VirtualHost {
  readonly name: string;
  readonly domains: readonly string[];
  readonly routes: readonly Route[];
  readonly retry_policy?: RetryPolicy;
}

export interface RouteConfiguration {
  readonly name: string;
  readonly virtual_hosts: readonly VirtualHost[];
  readonly validate_clusters: boolean;
  readonly max_direct_response_body_size_bytes: number;
  readonly request_headers_to_remove: readonly string[];
}

/** Routes that are taken when the scope key of the listener's scoped_routes is this one. */
export interface ScopedRouteConfiguration {
  readonly name: string;
  readonly key: { readonly fragments: readonly { readonly string_key: string }[] };
  readonly route_configuration: RouteConfiguration;
}
