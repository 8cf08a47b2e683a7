#!/usr/bin/env node
import { startBench } from '../machine/start.mjs';

startBench('import/import-bench.ts', { ownNetwork: true });
