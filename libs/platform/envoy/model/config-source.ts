/** Where Envoy gets a resource from, in protobuf JSON (envoy.config.core.v3.ConfigSource). */

export interface PathConfigSource {
  readonly path_config_source: { readonly path: string };
  readonly resource_api_version: 'V3';
}

/** The stream over which Envoy gets everything that changes. */
export interface AdsConfigSource {
  readonly ads: Record<string, never>;
  readonly resource_api_version: 'V3';
}

export type ConfigSource = PathConfigSource | AdsConfigSource;
