// A workload that only lends its network: the load generator runs inside it.
import { createServer } from 'node:net';

createServer().listen(8080);
process.on('SIGTERM', () => process.exit(0));
