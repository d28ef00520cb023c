// Programs that the suites run beside npm's: where test/setup puts them, or on the path.
import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** What test/setup builds lies here. */
export const TOOL_FOLDER = join(process.env['SKEIN_TEST_CACHE'] ?? join(process.env['HOME'] ?? '/root', '.cache/skein-test'), 'bin');

export const toolPath = (): string => `${TOOL_FOLDER}:${process.env['PATH'] ?? ''}`;

export const tool = (name: string): string | undefined =>
  toolPath()
    .split(':')
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path));
