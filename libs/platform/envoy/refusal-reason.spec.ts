import { describe, expect, it } from '@jest/globals';

import { refusalReason } from './refusal-reason.js';

const head = '[2026-11-24 05:00:24.274][11593][critical][main] [source/server/config_validation/server.cc:76] ';
const chain =
  'Proto constraint validation failed (HttpConnectionManagerValidationError.RouteConfig: embedded message failed validation | caused by RouteConfigurationValidationError.VirtualHosts[0]: embedded message failed validation | caused by VirtualHostValidationError.Routes[0]: embedded message failed validation | caused by RouteValidationError.Match: embedded message failed validation | caused by RouteMatchValidationError.Headers[0]: embedded message failed validation | caused by HeaderMatcherValidationError.Name: value does not match regex pattern "^[^\\x00\\n\\r]*$")';
const cause = 'Match.Headers[0].Name: value does not match regex pattern "^[^\\x00\\n\\r]*$"';

describe('the reason of a refusal', () => {
  it('comes after the configuration that Envoy prints first', () => {
    const log = `${head}error initializing configuration 'b.json': goo.gle/debugstr   \nstat_prefix: "x"\nroute_config {\n  name: "secret"\n}\n: ${chain}\n`;
    expect(refusalReason(log)).toBe(cause);
  });

  it('is found when the log was too long to be read whole', () => {
    expect(refusalReason(`  name: "secret"\n  }\n}\n: ${chain}\n`)).toBe(cause);
  });

  it('is found when all is in one line', () => {
    expect(refusalReason(`${head}error initializing configuration 'b.json': goo.gle/debugproto a: "secret" : ${chain}`)).toBe(cause);
  });

  it('of one line is that line without its head', () => {
    const log = `[2026-11-24 05:00:24.274][11593][warning][main] [source/a.cc:1] something else\n${head}error initializing configuration '/data/shadow/b.json': missing ): (a\n`;
    expect(refusalReason(log)).toBe('missing ): (a');
  });

  it('is not the configuration when nothing follows it', () => {
    expect(refusalReason(`${head}error initializing configuration 'b.json': INVALID_ARGUMENT goo.gle/debugonly a: "secret"`)).toBe(
      'INVALID_ARGUMENT',
    );
  });

  it('of a crash comes before its backtrace', () => {
    const trace = '[2026-11-24 05:00:24.275][11593][critical][backtrace] [./source/server/backtrace.h:104] #0: Envoy::SignalAction [0x1]';
    expect(refusalReason(`${head}panic: previous envoy process is still initializing\n${trace}\n${trace}\n`)).toBe(
      'panic: previous envoy process is still initializing',
    );
  });

  it('has at most 300 characters', () => {
    expect(refusalReason(`${head}${'x'.repeat(400)}`)).toHaveLength(300);
    expect(refusalReason('')).toBe('');
  });
});
