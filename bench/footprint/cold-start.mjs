#!/usr/bin/env node
import { startBench } from '../machine/start.mjs';

startBench('footprint/cold-start-bench.ts');
