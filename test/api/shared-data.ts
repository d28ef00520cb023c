// Finds the shared data beside the checkout (or at SKEIN_SHARED); tests that need it skip, saying so, where it is absent.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export const sharedFolder = process.env['SKEIN_SHARED'] ?? join(import.meta.dirname, '../../../shared');

export const sharedFile = (path: string): string | undefined => {
  const file = join(sharedFolder, path);
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
};

export const missing = (path: string): string | false =>
  existsSync(join(sharedFolder, path)) ? false : `no ${path} in ${sharedFolder}: set SKEIN_SHARED`;
