import { describe, expect, it } from '@jest/globals';

import { readWorkerConfig } from './worker-config.js';

const base = { DATABASE_URL: 'postgresql://chancery_app@127.0.0.1:5432/chancery' };
const pod = { ...base, CHANCERY_KUBERNETES: 'pod', KUBERNETES_SERVICE_HOST: '10.0.0.1', KUBERNETES_SERVICE_PORT: '443' };

describe('Kubernetes', () => {
  it('is not looked at unless somebody says so', () => {
    expect(readWorkerConfig({ ...base, KUBERNETES_SERVICE_HOST: '10.0.0.1', KUBERNETES_SERVICE_PORT: '443' }).kubernetes).toBeUndefined();
  });

  it('is reached as a pod, or as a kubeconfig says', () => {
    const folder = '/var/run/secrets/kubernetes.io/serviceaccount';
    expect(readWorkerConfig(pod).kubernetes).toEqual({
      reach: { by: 'pod', host: '10.0.0.1', port: '443', folder },
      namespace: undefined,
      namespaces: undefined,
      certificates: undefined,
      publish: undefined,
    });
    expect(readWorkerConfig({ ...base, CHANCERY_KUBERNETES: 'kubeconfig', CHANCERY_KUBECONFIG: 'k' }).kubernetes?.reach).toEqual({
      by: 'kubeconfig',
      path: 'k',
    });
  });

  it.each([
    ['shop', ['shop']],
    ['shop, web', ['shop', 'web']],
    ['*', []],
  ])('has namespaces: %s', (text, expected) => {
    expect(readWorkerConfig({ ...pod, CHANCERY_KUBERNETES_NAMESPACES: text }).kubernetes?.namespaces).toEqual(expected);
  });

  it.each([
    [{ CHANCERY_KUBERNETES: 'yes' }, /must be off, pod or kubeconfig/],
    [{ CHANCERY_KUBERNETES: 'pod' }, /this is none/],
    [{ CHANCERY_KUBERNETES: 'kubeconfig' }, /CHANCERY_KUBECONFIG: is not set/],
    [{ CHANCERY_KUBERNETES_NAMESPACES: 'Shop!' }, /CHANCERY_KUBERNETES_NAMESPACES: must be namespaces/],
    [{ CHANCERY_KUBERNETES_NAMESPACE: 'a,b' }, /CHANCERY_KUBERNETES_NAMESPACE: must be the name of a namespace/],
  ])('is refused: %j', (variables, reason) => {
    expect(() => readWorkerConfig({ ...base, ...variables })).toThrow(reason);
  });
});
