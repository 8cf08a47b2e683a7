#!/usr/bin/env node
import { startBench } from '../machine/start.mjs';

startBench('footprint/comparison-bench.ts', { ownNetwork: true });
