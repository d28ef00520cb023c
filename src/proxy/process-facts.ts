// What %HOSTNAME% and %ENVIRONMENT(NAME)% say: of this process, the same for every exchange.

import { hostname } from 'node:os';
import type { ProcessFacts } from '../plan/stream-info.ts';

export const PROCESS_FACTS: ProcessFacts = { hostname: hostname(), environment: process.env };
