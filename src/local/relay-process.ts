// Entrance of the relay's two processes: `relay-process.ts hub|host JSON`. Started by the supervisor only.

import { startHostRelay } from './relay-host.ts';
import { startHubRelay } from './relay-hub.ts';

const [, , side, text = '{}'] = process.argv;
const options = JSON.parse(text) as { readonly hubSocketPath: string; readonly hostSocketPath: string; readonly ingress: [] };
const log = (message: string): void => {
  process.stderr.write(`${new Date().toISOString()} relay ${side ?? ''} ${message}\n`);
};

const start = async (): Promise<void> => {
  if (side === 'hub') {
    await startHubRelay({ socketPath: options.hubSocketPath, hostSocketPath: options.hostSocketPath, log });
  } else {
    await startHostRelay({ socketPath: options.hostSocketPath, hubSocketPath: options.hubSocketPath, ingress: options.ingress, log });
  }
  log('ready');
};

// One connection that breaks in an unforeseen way must not end those of everybody else.
process.on('uncaughtException', (error) => log(`unexpected: ${error.stack ?? error.message}`));
start().catch((error: unknown) => {
  log(error instanceof Error ? error.message : String(error));
  process.exit(1);
});
