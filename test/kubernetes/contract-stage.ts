import { afterAll, afterEach, beforeAll } from '@jest/globals';

import { ApiConnection } from '#platform/kubernetes/api-connection.js';
import type { ApiObject } from '#platform/kubernetes/api-object.js';
import { type WatchEvent, watchEvents } from '#platform/kubernetes/watch-events.js';

import { type ApiUnderTest, ClusterObjects } from './api-under-test.js';

/** One API server for the tests of a suite. Each test has a namespace of its own, and what it opened ends with it. */
export interface ContractStage {
  readonly api: ApiUnderTest;
  readonly connection: ApiConnection;
  readonly objects: ClusterObjects;
  /** What is to end with the test; the last one first. */
  readonly cleanups: (() => Promise<void>)[];
  /** Of this test, after `inNamespace`; and the path of its Services. */
  readonly namespace: string;
  readonly services: string;
  inNamespace(): Promise<void>;
  /** What a watch of the namespace's Services tells, as it comes. */
  watching(query: object): Promise<WatchEvent<ApiObject>[]>;
}

/** Sets the stage for the `describe` in which it is called. @param prefix of the names of its namespaces */
export function contractStage(start: () => Promise<ApiUnderTest>, prefix: string): ContractStage {
  const stage = new Stage(start, prefix);
  beforeAll(() => stage.open());
  afterAll(() => stage.close());
  afterEach(() => stage.cleanUp());
  return stage;
}

class Stage implements ContractStage {
  api!: ApiUnderTest;
  connection!: ApiConnection;
  objects!: ClusterObjects;
  readonly cleanups: (() => Promise<void>)[] = [];
  namespace = '';
  #number = 0;

  constructor(
    private readonly start: () => Promise<ApiUnderTest>,
    private readonly prefix: string,
  ) {}

  get services(): string {
    return `/api/v1/namespaces/${this.namespace}/services`;
  }

  async open(): Promise<void> {
    this.api = await this.start();
    this.connection = new ApiConnection(this.api.access);
    this.objects = new ClusterObjects(this.api.access);
  }

  async close(): Promise<void> {
    this.connection.close();
    this.objects.close();
    await this.api.dispose();
  }

  async cleanUp(): Promise<void> {
    for (const cleanup of this.cleanups.splice(0).reverse()) await cleanup();
  }

  async inNamespace(): Promise<void> {
    this.namespace = `${this.prefix}-${++this.#number}`;
    await this.objects.namespace(this.namespace);
  }

  async watching(query: object): Promise<WatchEvent<ApiObject>[]> {
    const ending = new AbortController();
    const response = await this.connection.open({ path: this.services, query: { watch: true, ...query }, signal: ending.signal });
    const heard: WatchEvent<ApiObject>[] = [];
    const reading = (async () => {
      for await (const events of watchEvents(response)) heard.push(...events);
    })().catch(() => undefined); // what it has heard is what the test looks at
    this.cleanups.push(async () => {
      ending.abort();
      await reading;
    });
    return heard;
  }
}
