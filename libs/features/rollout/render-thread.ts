import { parentPort, workerData } from 'node:worker_threads';

import { type GatewayStates, renderDifference } from './render-difference.js';

/** The thread in which two renders are compared: one question (its workerData), one answer. */
const { gateway, before, after } = workerData as { gateway: string; before: GatewayStates | null; after: GatewayStates | null };
parentPort?.postMessage(renderDifference(gateway, before, after));
