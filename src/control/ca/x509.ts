// The certificate library with what it needs loaded first. The only file that loads it: by `require`, because an `import` of a
// CommonJS package may be evaluated before its siblings (Bun does), and this one looks at Reflect as it loads.
import { createRequire } from 'node:module';
import './reflect-metadata.ts';

export const x509 = createRequire(import.meta.url)('@peculiar/x509') as typeof import('@peculiar/x509');
