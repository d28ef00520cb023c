// Which MeshConfig the control plane of `skein up` gets: DIR/mesh-config.yaml when there is one, else one that only turns access logs on,
// because people who run a mesh on their own machine want to see its requests.

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { StatePaths } from './state.ts';

const DEFAULT = '# Written by skein up; DIR/mesh-config.yaml takes its place.\naccessLogFile: /dev/stdout\naccessLogEncoding: JSON\n';

export const ownMeshConfig = (directory: string): string | undefined => {
  const own = join(directory, 'mesh-config.yaml');
  return existsSync(own) ? own : undefined;
};

export const meshConfigFile = (directory: string, paths: StatePaths): string => {
  const own = ownMeshConfig(directory);
  if (own !== undefined) return own;
  const written = join(paths.run, 'mesh-config.yaml');
  writeFileSync(written, DEFAULT, { mode: 0o644 });
  return written;
};
