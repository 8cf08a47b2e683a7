import { request } from 'node:http';

/** Envoy's admin did not answer as it should: no socket, no answer in time, or another status than 200. */
export class EnvoyAdminError extends Error {
  override readonly name = 'EnvoyAdminError';
}

/** The part of `GET /server_info` that the agent decides on. */
export interface ServerInfo {
  readonly version: string;
  readonly state: 'LIVE' | 'DRAINING' | 'PRE_INITIALIZING' | 'INITIALIZING';
  readonly hotRestartVersion: string;
  readonly restartEpoch: number;
  readonly baseId: number;
  readonly configPath: string;
  readonly concurrency: number;
}

export interface AdminCall {
  readonly method?: 'GET' | 'POST';
  /** Milliseconds from the call to the last byte. Envoy answers from its main thread, which a big config keeps busy for seconds. */
  readonly timeoutMs?: number;
}

/** Envoy's answers are trusted to be long (config_dump), not endless. */
const MAX_ANSWER_BYTES = 256 * 1024 * 1024;

/**
 * Client of one Envoy's admin endpoint on its Unix socket. Every call has a deadline and a connection of its own, because during a hot
 * restart the same path is taken over by the next epoch and a kept connection would still reach the old one.
 */
export class EnvoyAdmin {
  readonly #socketPath: string;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  /** The body of the answer. Throws EnvoyAdminError when there is none in time or its status is not 200. */
  async text(path: string, { method = 'GET', timeoutMs = 2000 }: AdminCall = {}): Promise<string> {
    return new Promise((resolve, reject) => {
      const fail = (message: string, cause?: unknown) =>
        reject(new EnvoyAdminError(`Envoy admin ${method} ${path}: ${message}`, { cause }));
      const call = request({ socketPath: this.#socketPath, path, method, agent: false, headers: { host: 'envoy-admin' } }, (answer) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        answer.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > MAX_ANSWER_BYTES) call.destroy(new Error(`more than ${MAX_ANSWER_BYTES} bytes`));
          chunks.push(chunk);
        });
        answer.on('error', (error) => fail(error.message, error));
        answer.on('end', () => {
          const body = Buffer.concat(chunks).toString('utf8');
          if (answer.statusCode === 200) resolve(body);
          else fail(`status ${answer.statusCode}: ${body.slice(0, 200).trim()}`);
        });
      });
      const deadline = setTimeout(() => call.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
      call.on('close', () => clearTimeout(deadline));
      call.on('error', (error) => fail(error.message, error));
      call.end();
    });
  }

  async json(path: string, call: AdminCall = {}): Promise<unknown> {
    const text = await this.text(path, call);
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new EnvoyAdminError(`Envoy admin ${path}: the answer is not JSON`, { cause: error });
    }
  }

  async serverInfo(call: AdminCall = {}): Promise<ServerInfo> {
    const info = (await this.json('/server_info', call)) as Record<string, unknown>;
    const options = (info.command_line_options ?? {}) as Record<string, unknown>;
    return {
      version: String(info.version ?? ''),
      state: info.state as ServerInfo['state'],
      hotRestartVersion: String(info.hot_restart_version ?? ''),
      restartEpoch: Number(options.restart_epoch ?? 0),
      baseId: Number(options.base_id ?? 0),
      configPath: String(options.config_path ?? ''),
      concurrency: Number(options.concurrency ?? 0),
    };
  }

  /** Counters and gauges whose name matches the RE2 filter, in one answer and so with one flush. Counters that were never used may be missing. */
  async stats(filter: string, call: AdminCall = {}): Promise<ReadonlyMap<string, number>> {
    const answer = (await this.json(`/stats?format=json&filter=${encodeURIComponent(filter)}`, call)) as {
      stats?: readonly { name?: string; value?: number }[];
    };
    return toNumbers(answer.stats ?? []);
  }

  async clusters(call: AdminCall = {}): Promise<unknown> {
    return this.json('/clusters?format=json', call);
  }

  async configDump(call: AdminCall = {}): Promise<unknown> {
    return this.json('/config_dump', { timeoutMs: 10_000, ...call });
  }

  /** The addresses that listeners are really bound to, by listener name: the only way to learn a port that was asked for as 0. */
  async listenerAddresses(call: AdminCall = {}): Promise<ReadonlyMap<string, { address: string; port: number }>> {
    const answer = (await this.json('/listeners?format=json', call)) as {
      listener_statuses?: readonly { name?: string; local_address?: { socket_address?: { address?: string; port_value?: number } } }[];
    };
    const addresses = new Map<string, { address: string; port: number }>();
    for (const { name, local_address } of answer.listener_statuses ?? []) {
      const socket = local_address?.socket_address;
      if (name !== undefined && socket !== undefined)
        addresses.set(name, { address: socket.address ?? '127.0.0.1', port: socket.port_value ?? 0 });
    }
    return addresses;
  }

  /** Stops accepting and asks clients politely to go (Connection: close, GOAWAY); the process goes on until it is signalled. */
  async drainListeners(call: AdminCall = {}): Promise<void> {
    await this.text('/drain_listeners?graceful', { method: 'POST', ...call });
  }

  /** Opens the log file anew, after it was renamed. */
  async reopenLogs(call: AdminCall = {}): Promise<void> {
    await this.text('/reopen_logs', { method: 'POST', ...call });
  }
}

function toNumbers(stats: readonly { name?: string; value?: number }[]): ReadonlyMap<string, number> {
  const numbers = new Map<string, number>();
  for (const { name, value } of stats) if (name !== undefined && typeof value === 'number') numbers.set(name, value);
  return numbers;
}
