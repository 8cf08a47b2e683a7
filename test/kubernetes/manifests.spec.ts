import { expect, test } from '@jest/globals';

import { claimedVolumes, type PodSpec, podOf, readManifests } from './manifests.js';

test('the manifests fit each other: what Services, probes, volumes and budgets name is there', () => {
  const all = [...readManifests('base'), ...readManifests('demo')];
  const pods = all.flatMap((object) => {
    const pod = podOf(object);
    const { template } = (object.spec ?? {}) as { template?: { metadata?: { labels?: Record<string, string> } } };
    return pod === undefined ? [] : [{ object, pod, labels: template?.metadata?.labels ?? {} }];
  });
  const selected = (namespace: string | undefined, selector: Readonly<Record<string, string>>) =>
    pods.filter(
      ({ object, labels }) =>
        object.metadata.namespace === namespace && Object.entries(selector).every(([name, value]) => labels[name] === value),
    );
  const portsOf = (pod: PodSpec) => pod.containers.flatMap(({ ports = [] }) => ports.map(({ name }) => name));
  for (const { kind, metadata, spec } of all) {
    const { selector, ports = [] } = (spec ?? {}) as { selector?: Record<string, string>; ports?: { targetPort: string }[] };
    const meant = kind === 'Service' ? selected(metadata.namespace, selector ?? {}) : [];
    if (kind === 'Service') expect({ name: metadata.name, pods: meant.length }).toEqual({ name: metadata.name, pods: 1 });
    for (const { pod } of meant) expect(portsOf(pod)).toEqual(expect.arrayContaining(ports.map(({ targetPort }) => targetPort)));
    const budget = (selector as { matchLabels?: Record<string, string> } | undefined)?.matchLabels ?? {};
    if (kind === 'PodDisruptionBudget') expect(selected(metadata.namespace, budget)).toHaveLength(1);
  }
  for (const { object, pod } of pods) {
    const volumes = [...(pod.volumes ?? []).map(({ name }) => name), ...claimedVolumes(object).map(({ name }) => name)];
    for (const { name, volumeMounts = [], readinessProbe, livenessProbe } of pod.containers) {
      expect({ name, volumes: volumeMounts.map((mount) => mount.name).filter((mount) => !volumes.includes(mount)) }).toEqual({
        name,
        volumes: [],
      });
      const probed = [readinessProbe, livenessProbe].flatMap((probe) => probe?.httpGet?.port ?? probe?.tcpSocket?.port ?? []);
      expect(portsOf(pod)).toEqual(expect.arrayContaining(probed));
    }
    if (object.kind !== 'Job') expect(pod.containers.every(({ readinessProbe }) => readinessProbe !== undefined)).toBe(true);
  }
  const replicated = all.filter(({ kind, metadata }) => ['Deployment', 'StatefulSet'].includes(kind) && metadata.namespace !== 'default');
  expect(
    all
      .filter(({ kind }) => kind === 'PodDisruptionBudget')
      .map(({ metadata }) => metadata.name)
      .sort(),
  ).toEqual(replicated.map(({ metadata }) => metadata.name).sort());
});
