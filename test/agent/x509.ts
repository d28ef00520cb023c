// The certificate library for tests, loaded after what it needs (a static import would be evaluated first on Bun).
import '../../src/control/reflect-metadata.ts';

export const x509 = await import('@peculiar/x509');
