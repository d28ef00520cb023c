// TLS settings of a server: which certificate sources go with which mode.

import type { Findings } from '../../findings.ts';
import { child } from '../../reading/field-path.ts';
import type { ServerTLSSettings } from '../../specs.ts';

const cipherSuites: ReadonlySet<string> = new Set([
  ...['ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES128-GCM-SHA256', 'ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-RSA-AES256-GCM-SHA384'],
  ...['ECDHE-ECDSA-CHACHA20-POLY1305', 'ECDHE-RSA-CHACHA20-POLY1305', 'ECDHE-ECDSA-AES128-SHA', 'ECDHE-RSA-AES128-SHA'],
  ...['ECDHE-ECDSA-AES256-SHA', 'ECDHE-RSA-AES256-SHA', 'AES128-GCM-SHA256', 'AES256-GCM-SHA384', 'AES128-SHA', 'AES256-SHA'],
  'DES-CBC3-SHA',
]);

export const checkServerTls = (tls: ServerTLSSettings, path: string, findings: Findings): void => {
  const mode = tls.mode ?? 'PASSTHROUGH';
  const old = tls.minProtocolVersion === 'TLSV1_0' || tls.minProtocolVersion === 'TLSV1_1';
  if (old && !tls.cipherSuites?.length) {
    findings.warn(
      child(path, 'minProtocolVersion'),
      'TLS version below TLSV1_2 require setting compatible ciphers as by default they no longer include compatible ciphers.',
    );
  }
  checkCipherSuites(tls.cipherSuites ?? [], child(path, 'cipherSuites'), findings);
  checkCertificateSources(tls, path, findings);
  if (mode === 'ISTIO_MUTUAL') {
    for (const field of [
      'serverCertificate',
      'privateKey',
      'caCertificates',
      'credentialName',
      'credentialNames',
      'tlsCertificates',
    ] as const) {
      if (tls[field]?.length) findings.error(child(path, field), `ISTIO_MUTUAL TLS cannot have associated ${field}`);
    }
    return;
  }
  const files = tls.caCrl || tls.serverCertificate || tls.privateKey || tls.caCertificates || tls.tlsCertificates?.length;
  const credential = Boolean(tls.credentialName) || (tls.credentialNames ?? []).length > 0;
  if (mode === 'PASSTHROUGH' || mode === 'AUTO_PASSTHROUGH') {
    if (files || credential) findings.warn(path, `${mode} mode does not use certificates, they will be ignored`);
    return;
  }
  // The secret brings everything.
  if (credential) return;
  checkFiles(tls, mode, path, findings);
};

/** Names, and operators on lists of names (`-ALL`, `!RC4`), which only the TLS library can judge. */
const isCipherSuite = (text: string): boolean => text === '' || text === 'ALL' || /^[^A-Za-z0-9]/.test(text) || cipherSuites.has(text);

const checkCipherSuites = (suites: readonly string[], path: string, findings: Findings): void => {
  const invalid = new Set(suites.filter((s) => !isCipherSuite(s)));
  const repeated = new Set(suites.filter((s, i) => cipherSuites.has(s) && suites.indexOf(s) < i));
  if (invalid.size > 0) findings.warn(path, `ignoring invalid cipher suites: [${[...invalid].sort().join(' ')}]`);
  if (repeated.size > 0) findings.warn(path, `ignoring duplicate cipher suites: [${[...repeated].sort().join(' ')}]`);
};

/** One source of certificates. A file alone is none: beside a credential it is passed over. */
const checkCertificateSources = (tls: ServerTLSSettings, path: string, findings: Findings): void => {
  const files = Boolean(tls.serverCertificate && tls.privateKey);
  const sources = [
    ['credentialName', Boolean(tls.credentialName)],
    ['credentialNames', (tls.credentialNames ?? []).length > 0],
    ['tlsCertificates', (tls.tlsCertificates ?? []).length > 0],
    ['serverCertificate', files],
  ] as const;
  const [first, second] = sources.filter(([, set]) => set).map(([name]) => name);
  if (first && second) findings.error(child(path, second), `only one of ${first} or ${second} can be set`);
};

const checkFiles = (tls: ServerTLSSettings, mode: string, path: string, findings: Findings): void => {
  const kind = mode === 'SIMPLE' ? 'SIMPLE' : 'MUTUAL';
  if (tls.tlsCertificates?.length) {
    if (tls.tlsCertificates.length > 2)
      findings.warn(child(path, 'tlsCertificates'), `${kind} TLS can support up to 2 server certificates`);
    for (const certificate of tls.tlsCertificates) {
      if (!certificate.serverCertificate) findings.error(child(path, 'tlsCertificates'), `${kind} TLS requires a server certificate`);
      if (!certificate.privateKey) findings.error(child(path, 'tlsCertificates'), `${kind} TLS requires a private key`);
    }
  } else {
    if (!tls.serverCertificate) findings.error(path, `${kind} TLS requires a server certificate`);
    if (!tls.privateKey) findings.error(path, `${kind} TLS requires a private key`);
  }
  if (kind === 'MUTUAL' && !tls.caCertificates && !tls.caCertCredentialName) findings.error(path, 'MUTUAL TLS requires a client CA bundle');
  if (tls.caCrl && kind === 'SIMPLE') findings.error(child(path, 'caCrl'), 'CRL is not supported with SIMPLE TLS');
};
