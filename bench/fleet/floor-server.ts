/** The least that a connection with one open stream costs in Node: `http2` bare, or `grpc` with the library that we use. Nothing is sent to it. */
import { createServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';

import { Server, ServerCredentials, type ServerDuplexStream, type ServiceDefinition } from '@grpc/grpc-js';

import { AggregatedDiscoveryServiceService } from '#platform/xds/generated/discovery.js';

async function bareHttp2(): Promise<number> {
  const server = createServer();
  server.on('stream', (stream) => {
    stream.on('error', () => undefined); // it has gone
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
    stream.resume();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

function bareGrpc(): Promise<number> {
  const server = new Server();
  const idle = (call: ServerDuplexStream<unknown, unknown>) => call.on('error', () => undefined).resume();
  server.addService(AggregatedDiscoveryServiceService as unknown as ServiceDefinition, {
    deltaAggregatedResources: idle,
    streamAggregatedResources: idle,
  });
  return new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => (error === null ? resolve(port) : reject(error)));
  });
}

process.stdout.write(`${JSON.stringify({ port: await (process.argv[2] === 'http2' ? bareHttp2() : bareGrpc()) })}\n`);
for await (const _ of createInterface({ input: process.stdin })); // until the bench has ended
process.exit(0);
