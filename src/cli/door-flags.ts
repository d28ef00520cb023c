// Flags of `skein control-plane` that say where its doors are and whose word it takes for who calls.
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { type ControlPlaneConfig, ControlPlaneError } from '../control/control-plane.ts';

export interface DoorFlags {
  readonly adminPort: readonly string[];
  readonly serverName: readonly string[];
  readonly tokenIssuer?: string;
  readonly tokenKeys?: string;
  readonly tokenAudience: readonly string[];
  readonly tokenReview?: string;
  readonly tokenReviewCa?: string;
  readonly tokenReviewTokenFile: string;
}

/** Of Istio's agents. */
const AUDIENCE_DEFAULT = 'istio-ca';
const POD_TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token';

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

export const withDoorOptions = (command: Command): Command =>
  command
    .option(
      '--admin-port <address>',
      'the admin API for tokens (skein token): HOST:PORT of this machine, or tls:HOST:PORT; may be repeated',
      collect,
      [],
    )
    .option('--server-name <name>', 'a name or address that tls: doors are called by, for their certificate; may be repeated', collect, [])
    .option('--token-issuer <url>', 'OpenID Connect issuer whose tokens prove service accounts')
    .option('--token-keys <url>', "where the issuer's keys are (default: by discovery)")
    .option('--token-audience <name>', `audience that tokens must be for; may be repeated (default: ${AUDIENCE_DEFAULT})`, collect, [])
    .option('--token-review <url>', 'Kubernetes API server that reviews tokens: https://HOST:PORT')
    .option('--token-review-ca <file>', "roots (PEM) that the API server's certificate chains to (default: the system's)")
    .option('--token-review-token-file <file>', 'our own token for the API server, read for each review', POD_TOKEN);

/** Throws ControlPlaneError. */
export const doorSettings = (flags: DoorFlags): Pick<ControlPlaneConfig, 'adminPorts' | 'serverNames' | 'issuers' | 'review'> => {
  const audiences = flags.tokenAudience.length > 0 ? flags.tokenAudience : [AUDIENCE_DEFAULT];
  const { tokenIssuer: issuer, tokenKeys, tokenReview: server, tokenReviewCa: ca } = flags;
  for (const [flag, url] of [
    ['--token-issuer', issuer],
    ['--token-keys', tokenKeys],
    ['--token-review', server],
  ] as const) {
    if (url !== undefined && !/^https?:\/\/[^/]/.test(url)) throw new ControlPlaneError(`${flag} ${url}: give an https:// address`);
  }
  if (issuer === undefined && tokenKeys !== undefined) throw new ControlPlaneError('--token-keys needs --token-issuer');
  return {
    adminPorts: flags.adminPort,
    serverNames: flags.serverName,
    ...(issuer === undefined ? {} : { issuers: [{ issuer, audiences, keysUrl: tokenKeys }] }),
    ...(server === undefined
      ? {}
      : {
          review: {
            server,
            caPem: ca === undefined ? undefined : readText('--token-review-ca', ca),
            token: () => readText('--token-review-token-file', flags.tokenReviewTokenFile).trim(),
            audiences,
          },
        }),
  };
};

const readText = (flag: string, path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new ControlPlaneError(`${flag}: cannot read ${path}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
  }
};
