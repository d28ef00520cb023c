// The control plane's own certificate, for its TLS doors: by the mesh's authority, for the names it is called by, made anew at half of
// its life and when other roots are trusted. Its key is in this process alone.
import { isIP } from 'node:net';
import type { Log } from '../../base/log.ts';
import type { CertificateAuthority } from '../ca/ca.ts';
import { type TlsDoor, type TlsMaterial, tlsDoor } from './tls-door.ts';

export interface ServerIdentityOptions {
  readonly ca: Pick<CertificateAuthority, 'serverCertificate' | 'roots'>;
  readonly trustDomain: () => string;
  /** Names and addresses beside those that istiod has. */
  readonly names: readonly string[];
  readonly now: () => number;
  readonly log: Log;
}

export interface ServerIdentity {
  readonly door: TlsDoor;
  readonly current: TlsMaterial;
  onRenewal(renewed: (material: TlsMaterial) => void): void;
  close(): void;
}

/** As in Istio, so that its agents find what they look for. */
const OWN_NAMES = ['istiod.istio-system.svc', 'istiod.istio-system', 'istiod', 'localhost'] as const;
const OWN_IPS = ['127.0.0.1', '::1'] as const;
/** So soon roots that are no longer trusted are not trusted here. */
const LOOK_MS = 2000;

/** Undefined where the authority can make none. */
export const openServerIdentity = async (options: ServerIdentityOptions): Promise<ServerIdentity | undefined> => {
  const { ca, now, log, names } = options;
  const dns = [...new Set([...OWN_NAMES, ...names.filter((n) => isIP(n) === 0)])];
  const ips = [...new Set([...OWN_IPS, ...names.filter((n) => isIP(n) !== 0)])];
  const make = async () => {
    const roots = ca.roots;
    const uri = `spiffe://${options.trustDomain()}/ns/istio-system/sa/istiod`;
    const made = await ca.serverCertificate(uri, dns, ips);
    return (
      made && { material: { certPem: made.chainPem, keyPem: made.keyPem, rootsPem: roots }, madeAtMs: now(), notAfterMs: made.notAfterMs }
    );
  };
  const first = await make();
  if (!first) return undefined;
  let held = first;
  let making = false;
  const door = tlsDoor(first.material);
  const listeners = [(material: TlsMaterial) => door.renew(material)];
  const look = async (): Promise<void> => {
    const { material, madeAtMs, notAfterMs } = held;
    const sameRoots = ca.roots.length === material.rootsPem.length && ca.roots.every((pem, i) => pem === material.rootsPem[i]);
    if (making || (sameRoots && now() < madeAtMs + (notAfterMs - madeAtMs) / 2)) return;
    making = true;
    try {
      const renewed = await make();
      if (!renewed) return;
      held = renewed;
      for (const tell of listeners) tell(renewed.material);
    } catch (error) {
      log.error('the own certificate could not be renewed', { problem: error instanceof Error ? error.message : String(error) });
    } finally {
      making = false;
    }
  };
  const timer = setInterval(() => void look(), LOOK_MS);
  timer.unref();
  return {
    door,
    get current() {
      return held.material;
    },
    onRenewal: (renewed) => {
      listeners.push(renewed);
    },
    close: () => clearInterval(timer),
  };
};
