#!/usr/bin/env node
import { startBench } from '../machine/start.mjs';

startBench('rotation/rotation-bench.ts');
