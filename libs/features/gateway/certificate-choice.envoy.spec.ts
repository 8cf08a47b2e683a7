import { describe, expect, test } from '@jest/globals';

import { chosenCertificate, inListenerOrder, namesOf } from './certificate-choice.envoy.js';

const a = { name: 'a', dns: ['a.example.com', 'www.a.example.com'] };
const wild = { name: 'wild', dns: ['*.example.com'] };
const edge = { name: 'edge', dns: ['Edge.example.org'] };
const twin = { name: 'twin', dns: ['a.example.com', '*.example.com', 'twin.example.net'] };

describe('the choice of a certificate', () => {
  test('the one for unknown names stands first, the others by name', () => {
    expect(inListenerOrder([wild, a, edge], 'edge').map(({ name }) => name)).toEqual(['edge', 'a', 'wild']);
    expect(inListenerOrder([wild, a, edge], null).map(({ name }) => name)).toEqual(['a', 'edge', 'wild']);
  });

  test.each([
    ['a.example.com', 'a'],
    ['b.example.com', 'wild'],
    ['b.a.example.com', 'edge'],
    ['edge.EXAMPLE.org', 'edge'],
    ['localhost', 'edge'],
  ])('%s is answered with %s', (name, certificate) => {
    expect(chosenCertificate(inListenerOrder([a, wild, edge], 'edge'), name)?.name).toBe(certificate);
  });

  test('a certificate is asked for by the names that lead to it', () => {
    const all = inListenerOrder([a, wild, edge, twin], null);
    expect(namesOf(a, all)).toEqual(['a.example.com', 'www.a.example.com', '']);
    expect(namesOf(wild, all)).toEqual([]);
    expect(namesOf(twin, all)).toEqual(['chancery-probe.example.com', 'twin.example.net']);
    expect(namesOf(edge, all)).toEqual(['edge.example.org']);
  });
});
