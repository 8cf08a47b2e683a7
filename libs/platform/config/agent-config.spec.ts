import { describe, expect, it } from '@jest/globals';
import { readAgentConfig } from './agent-config.js';

const needed = { CHANCERY_AGENT_DATA: 'node', CHANCERY_AGENT_TOKEN: 'token' };

describe('the certificates of an agent', () => {
  it('are none unless they are named', () => {
    expect(readAgentConfig(needed, []).tls).toBeUndefined();
  });

  it('are the authority, and a pair of its own or none', () => {
    const authority = { ...needed, CHANCERY_AGENT_TLS_CA: 'ca.pem' };
    expect(readAgentConfig(authority, []).tls).toEqual({ ca: 'ca.pem', cert: undefined, key: undefined });
    const pair = { ...authority, CHANCERY_AGENT_TLS_CERT: 'cert.pem', CHANCERY_AGENT_TLS_KEY: 'key.pem' };
    expect(readAgentConfig(pair, []).tls).toEqual({ ca: 'ca.pem', cert: 'cert.pem', key: 'key.pem' });
  });

  it.each([
    [{ CHANCERY_AGENT_TLS_CA: 'ca.pem', CHANCERY_AGENT_TLS_CERT: 'cert.pem' }, /one is set without the other/],
    [{ CHANCERY_AGENT_TLS_CA: 'ca.pem', CHANCERY_AGENT_TLS_KEY: 'key.pem' }, /one is set without the other/],
    [{ CHANCERY_AGENT_TLS_CERT: 'cert.pem', CHANCERY_AGENT_TLS_KEY: 'key.pem' }, /CHANCERY_AGENT_TLS_CA: is not set/],
  ])('are refused when they are half: %j', (half, reason) => {
    expect(() => readAgentConfig({ ...needed, ...half }, [])).toThrow(reason);
  });
});
