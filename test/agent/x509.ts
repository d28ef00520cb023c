// The certificate library for tests, loaded after what it needs (a static import would be evaluated first on Bun).
import '../../src/control/ca/reflect-metadata.ts';

export const x509 = await import('@peculiar/x509');
