// Secure contexts for connecting, shared by all that ask for the same: the clusters of a mesh differ in whom they expect, not
// in their certificate and trust, and a context costs 25 KiB and time at every rotation. For clients only: a server's context
// also stands for the sessions it may resume, and those belong to one listener.
import { hash } from 'node:crypto';
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls';

/** By a digest, so that no key is kept as text. A context that nobody uses any more goes. */
const contexts = new Map<string, WeakRef<SecureContext>>();

export const clientContext = (options: SecureContextOptions): SecureContext => {
  const key = hash('sha256', JSON.stringify(options));
  const known = contexts.get(key)?.deref();
  if (known !== undefined) return known;
  for (const [old, reference] of contexts) if (reference.deref() === undefined) contexts.delete(old);
  const made = createSecureContext(options);
  contexts.set(key, new WeakRef(made));
  return made;
};
