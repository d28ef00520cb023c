// tables/pilot_pkg_security_authz_model.json: service accounts and namespaces as conditions on SPIFFE ids.

import { serviceAccount, sourceNamespace } from '../../../src/translate/rbac-matchers.ts';
import { differs, leftOut, text } from './case.ts';
import { principalMatches } from './rbac-engine.ts';
import { table } from './table.ts';

const brackets = leftOut('how Go code cuts names out of brackets; pkg_config_security and pkg_jwt show what is taken');

export const authzModel = table({
  TestServiceAccount: (r) =>
    differs(principalMatches(serviceAccount(text(r['Input']), 'my-ns'), { peerPrincipal: r['Identity'] }), r['Match'] === true),
  TestNamespaceMatcherRegex_Match: (r) => {
    const matches = (id: unknown): boolean => principalMatches(sourceNamespace(text(r['v'])), { peerPrincipal: id });
    return differs([matches(r['match']), matches(r['noMatch'])], [true, false]);
  },
  TestConvertToPort: leftOut('ports of policies are checked when they are read; pkg_config_security shows which are refused'),
  TestExtractNameInBrackets: brackets,
  TestExtractNameInNestedBrackets: brackets,
});
