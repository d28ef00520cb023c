// Certificates named by hash in a validation context: of the whole certificate (hex) or of its public key (base64).

import { createHash, X509Certificate } from 'node:crypto';
import { PlanError } from '../../plan/plan-error.ts';
import type { CertificateValidationContext } from '../../xds/gen/types.ts';

/** undefined: none is named. One that fits is enough. */
export const compilePinCheck = (
  context: CertificateValidationContext | undefined,
  path: string,
): ((raw: Buffer) => boolean) | undefined => {
  const hashes = (context?.verify_certificate_hash ?? []).map((text, i) => {
    const hex = text.replaceAll(':', '').toLowerCase();
    if (!/^[0-9a-f]{64}$/.test(hex)) throw new PlanError(`${path}.verify_certificate_hash[${i}]`, 'is no SHA-256 in hexadecimal');
    return hex;
  });
  const keys = (context?.verify_certificate_spki ?? []).map((text, i) => {
    if (Buffer.from(text, 'base64').length !== 32) throw new PlanError(`${path}.verify_certificate_spki[${i}]`, 'is no SHA-256 in base64');
    return text;
  });
  if (hashes.length === 0 && keys.length === 0) return undefined;
  return (raw) => {
    if (hashes.includes(createHash('sha256').update(raw).digest('hex'))) return true;
    if (keys.length === 0) return false;
    const key = new X509Certificate(raw).publicKey.export({ type: 'spki', format: 'der' });
    return keys.includes(createHash('sha256').update(key).digest('base64'));
  };
};
