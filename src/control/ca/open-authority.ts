// The certificate authority as the process was told to have it: own roots, a folder of the operator's, or a signer elsewhere.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { MeshConfig } from '../../api/mesh-config/mesh-config.ts';
import type { Log } from '../../base/log.ts';
import type { Anchor } from '../../identity/anchor-scope.ts';
import { LIVES_DEFAULT, type Lives } from '../../identity/lives.ts';
import { pemCertificates } from '../../identity/pem.ts';
import { trustBundle } from '../../identity/trust-bundle.ts';
import type { Authority } from './authority.ts';
import { CertificateAuthority } from './ca.ts';
import { FolderAuthority } from './folder-authority.ts';
import { CaMaterialError } from './material.ts';
import { OwnAuthority } from './own-authority.ts';
import { SignerAuthority } from './signer-authority.ts';

export interface AuthoritySettings {
  /** Defaults when absent. */
  readonly lives?: Lives;
  /** Roots wait for an operator (`skein ca rotate`). */
  readonly manualRotation?: boolean;
  /** A command that signs, and what it chains to. */
  readonly signer?: { readonly command: string; readonly rootsFile: string };
  /** Files with roots of other trust domains: `FILE`, or `TRUST-DOMAIN=FILE` for names of that one alone. */
  readonly bundleFiles?: readonly string[];
}

export interface OpenAuthorityOptions extends AuthoritySettings {
  readonly stateDir: string;
  /** Istio's `cacerts`. */
  readonly caDir: string | undefined;
  readonly meshConfig: () => MeshConfig;
  readonly now: () => number;
  readonly log: Log;
  /** What is trusted has changed. */
  readonly changed: () => void;
}

/** Throws CaMaterialError. */
export const openAuthority = async (options: OpenAuthorityOptions): Promise<CertificateAuthority> => {
  const { lives = LIVES_DEFAULT, now, meshConfig, bundleFiles = [] } = options;
  const fromFiles = bundleFiles.flatMap((file) => readBundle(file));
  return new CertificateAuthority({
    authority: await authorityOf(options, lives),
    leafMs: lives.leafMs,
    now,
    federated: () => [...fromFiles, ...configuredAnchors(meshConfig())],
    trustDomains: () => [...new Set([meshConfig().trustDomain, ...(meshConfig().trustDomainAliases ?? [])])],
  });
};

const authorityOf = (options: OpenAuthorityOptions, lives: Lives): Promise<Authority> | Authority => {
  const { caDir, signer, stateDir, manualRotation, now, log, changed } = options;
  const { trustDomain } = options.meshConfig();
  if (signer && caDir !== undefined) throw new CaMaterialError('--ca-signer and --ca-dir exclude each other');
  if (signer) return new SignerAuthority({ ...signer, trustDomain, now, log });
  if (caDir !== undefined) return FolderAuthority.open({ folder: caDir, trustDomain, now, log, changed });
  return OwnAuthority.open({ folder: join(stateDir, 'ca'), trustDomain, lives, automatic: manualRotation !== true, now, log, changed });
};

const configuredAnchors = ({ caCertificates = [] }: MeshConfig): readonly Anchor[] =>
  caCertificates.flatMap(({ pem = '', trustDomains = [] }) =>
    pemCertificates(pem).map((root) => ({ pem: root, trustDomains: trustDomains.length === 0 ? undefined : trustDomains })),
  );

const NAMED_FILE = /^([a-z0-9._-]{1,255})=(.+)$/;

const readBundle = (argument: string): readonly Anchor[] => {
  const [, trustDomain, named] = NAMED_FILE.exec(argument) ?? [];
  const trustDomains = trustDomain === undefined ? undefined : [trustDomain];
  return rootsIn(named ?? argument).map((pem) => ({ pem, trustDomains }));
};

const rootsIn = (file: string): readonly string[] => {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new CaMaterialError(`cannot read ${file}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
  }
  const bundle = trustBundle('', text);
  if (!bundle.ok) throw new CaMaterialError(`${file}: ${bundle.error}`);
  return bundle.value.roots;
};
