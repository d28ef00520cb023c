// tables/pilot_pkg_security_trustdomain.json: principals of a policy under trust domain aliases.

import { expandPrincipals } from '../../../src/translate/trust-domains.ts';
import { differs, leftOut, row, texts } from './case.ts';
import { table } from './table.ts';

const helper = leftOut('a step of TestReplaceTrustDomainAliases that nothing shows by itself');

export const trustDomain = table({
  TestReplaceTrustDomainAliases: (r) =>
    differs(expandPrincipals(texts(r['principals']), texts(row(r['trustDomainBundle'])['TrustDomains'])), r['expect']),
  TestReplaceTrustDomainInPrincipal: helper,
  TestGetTrustDomainFromSpiffeIdentity: helper,
  TestIsTrustDomainBeingEnforced: helper,
  TestStringMatch: helper,
});
