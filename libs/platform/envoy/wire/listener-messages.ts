import type {
  DiscoveredFilter,
  ExtensionWithMatcher,
  FilterChain,
  HttpConnectionManager,
  Listener,
  LuaFilter,
  ManagerHardening,
  Router,
  ScopedConnectionManager,
  ScopedRoutes,
  StandingFilter,
  TypedExtensionConfig,
} from '../model/bootstrap.js';
import { socketAddress } from './cluster-messages.js';
import { configSource } from './config-source.js';
import { any, choice, chosenScalar, chosenText, duration, many, message, one, scalar, text, texts, wrapped } from './message-fields.js';
import { routeConfigurationMessage, scopedRouteMessage } from './route-messages.js';
import { downstreamTls } from './tls-messages.js';

/* Field numbers of envoy.config.listener.v3, of the HTTP connection manager and of the HTTP filters. */

const lua = message<LuaFilter>({
  default_source_code: one(3, message<LuaFilter['default_source_code']>({ inline_string: chosenText(3) })),
});
const LUA_TYPE = 'type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua';

/** envoy.config.core.v3.TypedExtensionConfig */
export const extensionMessage = message<TypedExtensionConfig>({ name: text(1), typed_config: any(2, { [LUA_TYPE]: lua }) });

type FieldMatcher = ExtensionWithMatcher['xds_matcher']['matcher_list']['matchers'][number];
type Not = FieldMatcher['predicate']['not_matcher'];
type Single = Not['single_predicate'];
type Action = FieldMatcher['on_match']['action'];

const headerInput = message<Single['input']>({
  name: text(1),
  typed_config: any(2, {
    'type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput': message<Single['input']['typed_config']>({
      header_name: text(1),
    }),
  }),
});

const skip = message<Action>({
  name: text(1),
  typed_config: any(2, {
    'type.googleapis.com/envoy.extensions.filters.common.matcher.action.v3.SkipFilter': message<Action['typed_config']>({}),
  }),
});

const not = message<Not>({
  single_predicate: one(
    1,
    message<Single>({ input: one(1, headerInput), value_match: one(2, message<Single['value_match']>({ contains: chosenText(7) })) }),
  ),
});

const fieldMatcher = message<FieldMatcher>({
  predicate: one(1, message<FieldMatcher['predicate']>({ not_matcher: one(4, not) })),
  on_match: one(2, message<FieldMatcher['on_match']>({ action: one(2, skip) })),
});

type Matcher = ExtensionWithMatcher['xds_matcher'];

const skippable = message<ExtensionWithMatcher>({
  extension_config: one(2, extensionMessage),
  xds_matcher: one(3, message<Matcher>({ matcher_list: one(1, message<Matcher['matcher_list']>({ matchers: many(1, fieldMatcher) })) })),
});

const discovery = message<DiscoveredFilter['config_discovery']>({ config_source: one(1, configSource), type_urls: texts(4) });

const httpFilter = message<Router | StandingFilter | DiscoveredFilter>({
  name: text(1),
  typed_config: any(4, {
    'type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher': skippable,
    'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router': message<Router['typed_config']>({}),
  }),
  config_discovery: one(5, discovery),
});

type Fragment = ScopedRoutes['scope_key_builder']['fragments'][number];

const scopedRoutes = message<ScopedRoutes>({
  name: text(1),
  scope_key_builder: one(
    2,
    message<ScopedRoutes['scope_key_builder']>({
      fragments: many(
        1,
        message<Fragment>({
          header_value_extractor: one(1, message<Fragment['header_value_extractor']>({ name: text(1), index: chosenScalar(3) })),
        }),
      ),
    }),
  ),
  rds_config_source: one(3, configSource),
  scoped_route_configurations_list: one(
    4,
    message<NonNullable<ScopedRoutes['scoped_route_configurations_list']>>({ scoped_route_configurations: many(1, scopedRouteMessage) }),
  ),
  scoped_rds: one(5, message<NonNullable<ScopedRoutes['scoped_rds']>>({ scoped_rds_config_source: one(1, configSource) })),
});

const manager = message<HttpConnectionManager | ScopedConnectionManager>({
  codec_type: choice(1, { AUTO: 0 }),
  stat_prefix: text(2),
  route_config: one(4, routeConfigurationMessage),
  http_filters: many(5, httpFilter),
  http2_protocol_options: one(
    9,
    message<ManagerHardening['http2_protocol_options']>({
      max_concurrent_streams: wrapped(2),
      initial_stream_window_size: wrapped(3),
      initial_connection_window_size: wrapped(4),
    }),
  ),
  drain_timeout: duration(12),
  use_remote_address: wrapped(14),
  forward_client_cert_details: choice(16, { SANITIZE_SET: 3 }),
  set_current_client_cert_details: one(
    17,
    message<NonNullable<ManagerHardening['set_current_client_cert_details']>>({ subject: wrapped(1), dns: scalar(4), uri: scalar(5) }),
  ),
  upgrade_configs: many(23, message<ManagerHardening['upgrade_configs'][number]>({ upgrade_type: text(1) })),
  stream_idle_timeout: duration(24),
  internal_address_config: one(
    25,
    message<ManagerHardening['internal_address_config']>({ unix_sockets: scalar(1), cidr_ranges: texts(2) }),
  ),
  max_request_headers_kb: wrapped(29),
  normalize_path: wrapped(30),
  scoped_routes: one(31, scopedRoutes),
  merge_slashes: scalar(33),
  common_http_protocol_options: one(
    35,
    message<ManagerHardening['common_http_protocol_options']>({
      idle_timeout: duration(1),
      max_headers_count: wrapped(2),
      headers_with_underscores_action: choice(5, { REJECT_REQUEST: 1 }),
    }),
  ),
  request_headers_timeout: duration(41),
  strip_any_host_port: chosenScalar(42),
  path_with_escaped_slashes_action: choice(45, { REJECT_REQUEST: 2 }),
  strip_trailing_host_dot: scalar(47),
});

type AnyListener = Listener<HttpConnectionManager | ScopedConnectionManager>;
type Chain = FilterChain<HttpConnectionManager | ScopedConnectionManager>;
type ListenerFilter = NonNullable<AnyListener['listener_filters']>[number];

const filterChain = message<Chain>({
  filter_chain_match: one(1, message<NonNullable<Chain['filter_chain_match']>>({ server_names: texts(11) })),
  filters: many(
    3,
    message<Chain['filters'][number]>({
      name: text(1),
      typed_config: any(4, {
        'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager': manager,
      }),
    }),
  ),
  transport_socket: one(
    6,
    message<NonNullable<Chain['transport_socket']>>({
      name: text(1),
      typed_config: any(3, { 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext': downstreamTls }),
    }),
  ),
  name: text(7),
});

/** envoy.config.listener.v3.Listener */
export const listenerMessage = message<AnyListener>({
  name: text(1),
  address: one(2, socketAddress),
  filter_chains: many(3, filterChain),
  per_connection_buffer_limit_bytes: wrapped(5),
  listener_filters: many(
    9,
    message<ListenerFilter>({
      name: text(1),
      typed_config: any(3, {
        'type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector': message<ListenerFilter['typed_config']>({}),
      }),
    }),
  ),
  tcp_backlog_size: wrapped(24),
});
