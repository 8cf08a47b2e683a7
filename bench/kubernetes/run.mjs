#!/usr/bin/env node
import { startBench } from '../machine/start.mjs';

startBench('kubernetes/kubernetes-bench.ts');
