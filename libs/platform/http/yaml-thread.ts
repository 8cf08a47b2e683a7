import { parentPort, workerData } from 'node:worker_threads';

import { DomainError } from '#platform/kernel/errors.js';

import { readYaml, type YamlAnswer } from './yaml-body.js';

/** The thread in which a long YAML text is read: one text (its workerData), one answer. */
function answer(text: string): YamlAnswer {
  try {
    return { value: readYaml(text) };
  } catch (error) {
    if (!(error instanceof DomainError)) throw error;
    const { kind, code, message, errors } = error;
    return { refusal: { kind, code, message, errors } };
  }
}

parentPort?.postMessage(answer(workerData as string));
