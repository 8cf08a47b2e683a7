#!/usr/bin/env node
import { startBench } from '../machine/start.mjs';

startBench('propagation/propagation-bench.ts', { ownNetwork: true });
