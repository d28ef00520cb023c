// Whether a certificate's subject alternative names satisfy a validation context: at least one matcher must match one name.

import { PlanError } from '../../plan/plan-error.ts';
import { compileStringMatcher } from '../../plan/string-matcher.ts';
import type { CertificateValidationContext, Matcher_StringMatcher } from '../../xds/gen/types.ts';
import type { SanList } from './peer-certificate.ts';

export type SanCheck = (sans: SanList) => boolean;

/** undefined: the context asks for no name. */
export const compileSanCheck = (context: CertificateValidationContext | undefined, path: string): SanCheck | undefined => {
  const checks: SanCheck[] = [];
  context?.match_typed_subject_alt_names?.forEach((typed, i) => {
    const matcher = typed.matcher ?? {};
    const match = compileStringMatcher(matcher, `${path}.match_typed_subject_alt_names[${i}].matcher`);
    switch (typed.san_type) {
      case 'URI':
        checks.push((sans) => sans.uri.some(match));
        break;
      case 'DNS':
        checks.push(dnsCheck(matcher, match));
        break;
      case 'EMAIL':
        checks.push((sans) => sans.email.some(match));
        break;
      case 'IP_ADDRESS':
        checks.push((sans) => sans.ip.some(match));
        break;
      default:
        throw new PlanError(`${path}.match_typed_subject_alt_names[${i}].san_type`, `${String(typed.san_type)} is not supported`);
    }
  });
  if (checks.length === 0)
    context?.match_subject_alt_names?.forEach((matcher, i) => {
      const match = compileStringMatcher(matcher, `${path}.match_subject_alt_names[${i}]`);
      const dns = dnsCheck(matcher, match);
      checks.push((sans) => sans.uri.some(match) || dns(sans) || sans.email.some(match) || sans.ip.some(match));
    });
  if (checks.length === 0) return undefined;
  const any: SanCheck = (sans) => checks.some((check) => check(sans));
  // A certificate with two identities proves neither (X.509-SVID 2); which of them a policy saw would be anybody's guess.
  return asksIdentity(context) ? (sans) => sans.uri.length <= 1 && any(sans) : any;
};

const asksIdentity = (context: CertificateValidationContext | undefined): boolean =>
  [...(context?.match_typed_subject_alt_names ?? []).map((typed) => typed.matcher), ...(context?.match_subject_alt_names ?? [])].some(
    (matcher) => (matcher?.exact ?? matcher?.prefix ?? '').startsWith('spiffe://'),
  );

// An exact DNS matcher also accepts a wildcard name of the certificate.
const dnsCheck = (matcher: Matcher_StringMatcher, match: (text: string) => boolean): SanCheck => {
  const exact = matcher.exact;
  if (exact === undefined) return (sans) => sans.dns.some(match);
  return (sans) => sans.dns.some((name) => match(name) || coversDnsName(name, exact));
};

/** `*.example.com` covers `a.example.com` and nothing deeper. */
export const coversDnsName = (pattern: string, name: string): boolean => {
  const left = pattern.toLowerCase();
  const right = name.toLowerCase();
  if (left === right) return true;
  if (!left.startsWith('*.')) return false;
  const dot = right.indexOf('.');
  return dot > 0 && right.slice(dot + 1) === left.slice(2);
};
