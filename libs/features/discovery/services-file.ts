import { readFile } from 'node:fs/promises';

import { parse } from 'yaml';

import { parseInstance } from '#platform/envoy/model/upstream-address.js';
import { sha256Hex } from '#platform/kernel/digest.js';

import type { Endpoint, ServiceList } from './discovery.js';

/** Parses `services: {usersvc: ['127.0.0.1:9001']}` in YAML or JSON. @throws Error naming the entry that is wrong. */
export function parseServices(text: string): ServiceList {
  const document: unknown = parse(text);
  const services = isRecord(document) ? document.services : undefined;
  if (!isRecord(services)) throw new Error('the file must have a member "services" that maps names to lists of address:port');
  const list: Record<string, Endpoint[]> = {};
  for (const [name, instances] of Object.entries(services)) {
    if (!Array.isArray(instances)) throw new Error(`services.${name}: must be a list of address:port`);
    list[name.toLowerCase()] = instances.map((instance: unknown) => {
      const endpoint = typeof instance === 'string' ? parseInstance(instance) : undefined;
      if (endpoint === undefined) throw new Error(`services.${name}: ${JSON.stringify(instance)} is not address:port with an IP address`);
      return endpoint;
    });
  }
  return list;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * A file of services that is read again when it changes. A bad or missing file keeps the last good list; `error` says what is wrong.
 * It is polled by content: editors and mounted config maps replace files in ways that no file event covers alike.
 */
export class ServicesFile {
  readonly #path: string;
  readonly #onChange: () => void;
  readonly #onError: (error: string) => void;
  #list: ServiceList = {};
  #hash = '';
  #error = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(options: { readonly path: string; onChange(): void; onError(error: string): void }) {
    this.#path = options.path;
    this.#onChange = options.onChange;
    this.#onError = options.onError;
  }

  get list(): ServiceList {
    return this.#list;
  }

  /** What is wrong with the file as it stands; '' when nothing is. */
  get error(): string {
    return this.#error;
  }

  /** Reads it now, and again each `pollMs`. */
  async start(pollMs = 1_000): Promise<void> {
    await this.#read();
    this.#timer = setInterval(() => void this.#read(), pollMs);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #read(): Promise<void> {
    try {
      const text = await readFile(this.#path, 'utf8');
      const hash = sha256Hex(text);
      if (hash === this.#hash && this.#error === '') return;
      this.#list = parseServices(text);
      this.#error = '';
      this.#hash = hash;
      this.#onChange();
    } catch (error) {
      const message = `${this.#path}: ${error instanceof Error ? error.message : String(error)}`;
      if (message !== this.#error) this.#onError(message);
      this.#error = message;
    }
  }
}
