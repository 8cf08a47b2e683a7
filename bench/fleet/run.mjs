#!/usr/bin/env node
import { startBench } from '../machine/start.mjs';

startBench('fleet/fleet-bench.ts');
