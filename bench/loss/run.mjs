#!/usr/bin/env node
import { startBench } from '../machine/start.mjs';

startBench('loss/loss-bench.ts');
