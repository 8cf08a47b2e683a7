import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';

import { ApiConnection } from '#platform/kubernetes/api-connection.js';

import { describeWhere } from '../support/describe-where.js';
import { claimedVolumes, deploy, type Manifest, missingTool, pathOf, podOf, readManifests, renderChart } from './manifests.js';
import { RealApi } from './real-api.js';

jest.setTimeout(180_000);

const base = readManifests('base');
const demo = readManifests('demo');
const noHelm = missingTool('helm');

const variants: readonly (readonly [string, readonly string[]])[] = [
  ['the whole cluster', ['discovery.clusterWide=true']],
  ['as many as the load wants', ['api.autoscale.max=6', 'edge.autoscale.max=8']],
  ['DNS on each node', ['network.dns.to[0].ipBlock.cidr=169.254.20.10/32']],
  ['Redis, and its own Services', ['queue=redis', 'discovery.namespaces={shop,web}']],
  ['certificates published to Secrets', ['certificates.publish=true', 'certificates.watch=false']],
  [
    'an image by digest, ports of nodes',
    [`image.digest=sha256:${'0'.repeat(64)}`, 'edge.service.type=NodePort', 'edge.storage.storageClassName=fast'],
  ],
];

describe('the manifests as they are written', () => {
  test('no part may be root, write to its image, rise, or grow without limit; only the worker has a token', () => {
    const pods = [...base, ...demo].flatMap((object) => {
      const pod = podOf(object);
      return pod === undefined ? [] : [{ name: object.metadata.name, pod }];
    });
    expect(pods.length).toBeGreaterThanOrEqual(8);
    for (const { name, pod } of pods) {
      expect({ name, token: pod.automountServiceAccountToken }).toEqual({ name, token: name === 'chancery-worker' });
      expect({ name, nonRoot: pod.securityContext?.runAsNonRoot }).toEqual({ name, nonRoot: true });
      for (const container of pod.containers) {
        expect(container).toMatchObject({
          image: expect.stringMatching(/:[0-9][^:]*$/), // a version, and not the latest
          securityContext: { readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
          resources: { requests: expect.anything(), limits: { memory: expect.any(String) } },
        });
      }
    }
  });

  test('hold no Secret: applying them again touches no certificate', () => {
    expect([...base, ...demo].filter(({ kind }) => kind === 'Secret')).toEqual([]);
  });

  test('deny what they do not name, in every namespace, both ways', () => {
    const namespaces = base.filter(({ kind }) => kind === 'Namespace').map(({ metadata }) => metadata.name);
    expect(namespaces.sort()).toEqual(['ambassador-certs', 'chancery', 'chancery-edge']);
    const closed = base.filter(({ kind, spec }) => kind === 'NetworkPolicy' && JSON.stringify(spec) === JSON.stringify(nothing));
    expect(closed.map(({ metadata }) => metadata.namespace).sort()).toEqual(namespaces);
  });

  test('no Service leads from outside to the admin interface', () => {
    const services = base.filter(({ kind }) => kind === 'Service');
    const open = services.filter(({ spec }) => (spec as { type: string }).type !== 'ClusterIP');
    expect(
      open.map(({ metadata, spec }) => [metadata.name, (spec as { ports: { port: number }[] }).ports.map(({ port }) => port)]),
    ).toEqual([
      ['chancery-http', [80]],
      ['chancery-https', [443]],
    ]);
  });
});

const nothing = { podSelector: {}, policyTypes: ['Ingress', 'Egress'] };

describeWhere(noHelm, 'the Helm chart', () => {
  test('makes deploy/kubernetes/base, byte for byte (deploy/render.sh writes it)', () => {
    const folder = mkdtempSync(join(tmpdir(), 'chancery-manifests-'));
    try {
      execFileSync(join(deploy, 'render.sh'), [folder]);
      const committed = join(deploy, 'kubernetes/base');
      expect(readdirSync(folder).sort()).toEqual(readdirSync(committed).sort());
      for (const name of readdirSync(folder))
        expect(readFileSync(join(folder, name), 'utf8')).toBe(readFileSync(join(committed, name), 'utf8'));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('reads Services of all namespaces by a ClusterRole that can do nothing else, and only when told to', () => {
    expect(base.filter(({ kind }) => kind.startsWith('Cluster'))).toEqual([]);
    const roles = renderChart('discovery.clusterWide=true').filter(({ kind }) => kind === 'ClusterRole');
    expect(roles.map(({ rules }) => rules)).toEqual([
      [
        { apiGroups: [''], resources: ['services'], verbs: ['list', 'watch'] },
        { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list', 'watch'] },
      ],
    ]);
  });
});

describeWhere(noHelm, 'the chart that scales by load', () => {
  test('leaves the number of API and edge pods to the autoscalers', () => {
    const objects = renderChart('api.autoscale.max=6', 'edge.autoscale.max=8', 'edge.replicas=3');
    const scalers = objects.filter(({ kind }) => kind === 'HorizontalPodAutoscaler');
    expect(scalers.map(({ spec }) => spec)).toMatchObject([
      { scaleTargetRef: { kind: 'Deployment', name: 'chancery-api' }, minReplicas: 2, maxReplicas: 6 },
      { scaleTargetRef: { kind: 'StatefulSet', name: 'chancery-edge' }, minReplicas: 3, maxReplicas: 8 },
    ]);
    const counts = objects.flatMap(({ metadata, spec }) => {
      const { replicas } = (spec ?? {}) as { replicas?: number };
      return replicas === undefined ? [] : [[metadata.name, replicas]];
    });
    expect(counts).toEqual([
      ['chancery-projector', 2],
      ['chancery-worker', 2],
    ]);
  });
});

describeWhere(missingTool('kustomize'), 'kustomize', () => {
  test.each(['base', 'demo'] as const)('builds %s', (folder) => {
    const text = execFileSync('kustomize', ['build', join(deploy, 'kubernetes', folder)], { encoding: 'utf8' });
    const kinds = [...text.matchAll(/^kind: (\w+)$/gm)].map((match) => match[1]).sort();
    expect(kinds).toEqual((folder === 'base' ? base : demo).map(({ kind }) => kind).sort());
  });
});

describeWhere(RealApi.missing(), 'a real kube-apiserver', () => {
  let api: RealApi;
  let connection: ApiConnection;
  beforeAll(async () => {
    api = await RealApi.start();
    connection = new ApiConnection(api.access('admin-token'));
    for (const name of ['chancery', 'chancery-edge', 'ambassador-certs', 'shop', 'web']) {
      const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
      await connection.json({ method: 'POST', path: '/api/v1/namespaces', body: { metadata: { name, labels } } });
    }
    await connection.json({
      method: 'PATCH',
      path: '/api/v1/namespaces/default',
      body: { metadata: { labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } } },
    });
  });
  afterAll(async () => {
    connection.close();
    await api.dispose();
  });

  /** As `kubectl apply --dry-run=server --validate=strict` has it: every field known, admission passed, nothing kept. */
  async function dryRun(objects: readonly Manifest[]): Promise<void> {
    const refused: string[] = [];
    const attempt = (what: string, path: string, body: object) =>
      connection
        .json({ method: 'POST', path, body, query: { dryRun: 'All', fieldValidation: 'Strict' } })
        .catch((error: unknown) => refused.push(`${what}: ${(error as Error).message}`));
    for (const object of objects.filter(({ kind }) => kind !== 'Namespace')) {
      await attempt(`${object.kind} ${object.metadata.name}`, pathOf(object), object);
      const pod = podOf(object);
      if (pod === undefined) continue;
      // Pod Security refuses pods, not what makes them.
      const volumes = claimedVolumes(object);
      const spec = { ...pod, volumes: [...(pod.volumes ?? []), ...volumes] };
      await attempt(`the pod of ${object.metadata.name}`, `/api/v1/namespaces/${object.metadata.namespace}/pods`, {
        metadata: { name: object.metadata.name },
        spec,
      });
    }
    expect(refused).toEqual([]);
  }

  test('takes deploy/kubernetes, and its pods under Pod Security `restricted`', async () => {
    await dryRun(base);
    await dryRun(demo);
  });

  describeWhere(noHelm, 'the chart', () => {
    test.each(variants)('with %s is taken', async (_what, settings) => {
      await dryRun(renderChart(...settings));
    });
  });

  test('refuses what is wrong, which is how we know', async () => {
    const deployment = base.find(({ kind, metadata }) => kind === 'Deployment' && metadata.name === 'chancery-api') as Manifest;
    const spec = deployment.spec as { template: { spec: object } };
    const asRoot = {
      ...deployment,
      spec: { ...spec, template: { ...spec.template, spec: { ...spec.template.spec, securityContext: {} } } },
    };
    await expect(dryRun([asRoot])).rejects.toThrow(/violates PodSecurity/);
    await expect(dryRun([{ ...deployment, spec: { ...spec, replica: 2 } }])).rejects.toThrow(/unknown field \\"spec.replica/);
  });

  test('lets the worker do what deploy/kubernetes/worker-rights.json says, and no more; the others nothing', async () => {
    for (const object of base.filter(({ kind }) => ['ServiceAccount', 'Role', 'RoleBinding'].includes(kind)))
      await connection.json({ method: 'POST', path: pathOf(object), body: object });
    const ordinary = await rightsOf('chancery-edge', 'default', 'chancery-edge');
    const rights: Record<string, unknown> = {};
    for (const namespace of ['default', 'ambassador-certs', 'chancery', 'chancery-edge', 'kube-system'])
      rights[namespace] = without(await rightsOf('chancery', 'chancery-worker', namespace), ordinary);
    const golden = join(deploy, 'kubernetes/worker-rights.json');
    if (process.env.CHANCERY_WRITE_RIGHTS === '1') writeFileSync(golden, `${JSON.stringify(rights, null, 2)}\n`);
    expect(rights).toEqual(JSON.parse(readFileSync(golden, 'utf8')));
    for (const name of ['chancery-api', 'chancery-projector'])
      for (const namespace of ['default', 'ambassador-certs', 'chancery'])
        expect(without(await rightsOf('chancery', name, namespace), ordinary)).toEqual([]);
  });

  /** As the service account sees it itself. */
  async function rightsOf(home: string, account: string, namespace: string): Promise<string[]> {
    if (account === 'default')
      await connection.json({
        method: 'POST',
        path: `/api/v1/namespaces/${home}/serviceaccounts`,
        body: { metadata: { name: 'default' } },
      });
    const token = readFileSync(join(await api.podFolder(home, account), 'token'), 'utf8');
    const own = new ApiConnection(api.access(token));
    const review = await own.json<{ status: { resourceRules: Rule[]; nonResourceRules: Rule[] } }>({
      method: 'POST',
      path: '/apis/authorization.k8s.io/v1/selfsubjectrulesreviews',
      body: { spec: { namespace } },
    });
    own.close();
    const { resourceRules, nonResourceRules } = review.status;
    return [...resourceRules, ...nonResourceRules].map(ruleText).sort();
  }
});

interface Rule {
  readonly verbs: readonly string[];
  readonly apiGroups?: readonly string[];
  readonly resources?: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly nonResourceURLs?: readonly string[];
}

function ruleText({ verbs, apiGroups = [], resources = [], resourceNames = [], nonResourceURLs = [] }: Rule): string {
  const what = resources.map((resource) => apiGroups.map((group) => (group === '' ? resource : `${resource}.${group}`)).join());
  return `${[...verbs].sort().join(' ')}: ${[...what, ...resourceNames, ...nonResourceURLs].join(' ')}`;
}

function without(rights: readonly string[], others: readonly string[]): string[] {
  return rights.filter((right) => !others.includes(right));
}
