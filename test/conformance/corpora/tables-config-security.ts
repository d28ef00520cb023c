// tables/pkg_config_security.json: values of authorization rules, addresses of key sets.

import { checkJwksUri } from '../../../src/api/rules/security/validate-request-authentication.ts';
import { checkAttribute, checkPathTemplate, checkTrustDomainMatch } from '../../../src/api/values/authorization-value.ts';
import { differs, leftOut, type Row, text, texts, type Verdict } from './case.ts';
import { table } from './table.ts';

const refused = (failures: readonly (string | undefined)[], expected: unknown): Verdict => {
  const said = failures.filter((f) => f !== undefined);
  return said.length > 0 === (expected === true) ? undefined : { expected: expected === true ? 'refused' : 'taken', got: said };
};

const pathTemplates = (r: Row): Verdict => refused(texts(r['values']).map(checkPathTemplate), r['wantError']);

export const configSecurity = table({
  TestParseJwksURI: (r) => refused([checkJwksUri(text(r['in']))], r['expectedError']),
  TestCheckWildcardValues: leftOut('a helper without a caller outside its test'),
  TestCheckTrustDomainValues: (r) => refused(texts(r['values']).map(checkTrustDomainMatch), r['wantError']),
  TestValidateCondition: (r) => refused([checkAttribute(text(r['key']), texts(r['values']))], r['wantError']),
  TestCheckValidPathTemplate: pathTemplates,
  // A literal segment beside a template is taken or refused as the whole path is.
  TestIsValidLiteral: (r) => differs(checkPathTemplate(`/${text(r['glob'])}/{*}`) === undefined, r['expected']),
  TestContainsPathTemplate: leftOut('how Go code asks whether a path is a template; TestCheckValidPathTemplate shows the answer'),
});
