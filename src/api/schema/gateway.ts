// The fields of Istio's gateway messages (networking v1alpha3). Facts only: what they mean is checked elsewhere.

import { bool, enumeration, list, map, message, string, uint32 } from './schema.ts';

export const serverTLSSettingsTLSmode = enumeration([
  'PASSTHROUGH',
  'SIMPLE',
  'MUTUAL',
  'AUTO_PASSTHROUGH',
  'ISTIO_MUTUAL',
  'OPTIONAL_MUTUAL',
]);

export const serverTLSSettingsTLSProtocol = enumeration(['TLS_AUTO', 'TLSV1_0', 'TLSV1_1', 'TLSV1_2', 'TLSV1_3']);

export const port = message(
  'Port',
  {
    number: uint32,
    protocol: string,
    name: string,
    targetPort: uint32,
  },
  { required: ['number', 'protocol', 'name'], deprecated: ['targetPort'] },
);

export const serverTLSSettingsTLSCertificate = message('ServerTLSSettings.TLSCertificate', {
  serverCertificate: string,
  privateKey: string,
  caCertificates: string,
});

export const serverTLSSettings = message(
  'ServerTLSSettings',
  {
    httpsRedirect: bool,
    mode: serverTLSSettingsTLSmode,
    serverCertificate: string,
    privateKey: string,
    caCertificates: string,
    caCrl: string,
    credentialName: string,
    credentialNames: list(string),
    caCertCredentialName: string,
    tlsCertificates: list(serverTLSSettingsTLSCertificate),
    subjectAltNames: list(string),
    verifyCertificateSpki: list(string),
    verifyCertificateHash: list(string),
    minProtocolVersion: serverTLSSettingsTLSProtocol,
    maxProtocolVersion: serverTLSSettingsTLSProtocol,
    cipherSuites: list(string),
    insecureSkipVerify: bool,
  },
  { limits: { credentialNames: { maxItems: 2, minItems: 1 }, tlsCertificates: { maxItems: 2, minItems: 1 } } },
);

export const server = message(
  'Server',
  {
    port: port,
    bind: string,
    hosts: list(string),
    tls: serverTLSSettings,
    defaultEndpoint: string,
    name: string,
  },
  { required: ['port', 'hosts'] },
);

export const gateway = message('Gateway', {
  servers: list(server),
  selector: map(string),
});
