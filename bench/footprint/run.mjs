#!/usr/bin/env node
import { startBench } from '../machine/start.mjs';

startBench('footprint/footprint-bench.ts');
