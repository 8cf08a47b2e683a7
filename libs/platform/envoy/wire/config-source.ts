import type { ConfigSource } from '../model/config-source.js';
import { choice, message, one, text } from './message-fields.js';

const nothing = message<Record<never, never>>({});

/** envoy.config.core.v3.ConfigSource */
export const configSource = message<ConfigSource>({
  ads: one(3, nothing),
  resource_api_version: choice(6, { V3: 2 }),
  path_config_source: one(8, message<{ readonly path: string }>({ path: text(1) })),
});
