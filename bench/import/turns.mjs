#!/usr/bin/env node
import { startBench } from '../machine/start.mjs';

startBench('import/turns-bench.ts');
