// The certificate authority in the admin API (`/v1/ca`) and on the metrics page, there under istiod's names.
import { X509Certificate } from 'node:crypto';
import { anchorOf, boundDomains, mergeAnchors } from '../../identity/anchor-scope.ts';
import { ROTATION_STEPS, type RotationStep } from '../../identity/root-rotation.ts';
import { AdminError, type AdminRequest, type AdminRoute, jsonBody } from '../admin/http.ts';
import type { ControlMetrics } from '../metric-registry.ts';
import type { CertificateAuthority } from './ca.ts';

export const caRoutes = (ca: CertificateAuthority, now: () => number): readonly AdminRoute[] => [
  { method: 'GET', pattern: '/v1/ca', handle: () => ({ status: 200, json: caDocument(ca, now()) }) },
  {
    method: 'GET',
    pattern: '/v1/ca/bundle',
    handle: () => ({ status: 200, text: bundleOf(ca).join(''), headers: { 'content-type': 'application/x-pem-file' } }),
  },
  { method: 'POST', pattern: '/v1/ca/rotate', handle: (r) => rotate(r, ca, now) },
  { method: 'POST', pattern: '/v1/ca/revoke', handle: (r) => revoke(r, ca, now) },
];

/** A text says nothing of what its roots are bound to: of a mesh that binds roots it has its own alone. */
const bundleOf = (ca: CertificateAuthority): readonly string[] =>
  boundDomains(ca.anchors.map(anchorOf)) === undefined ? ca.anchors : ca.roots;

/** Everything but keys. */
const caDocument = (ca: CertificateAuthority, nowMs: number): unknown => {
  const leaves = ca.leaves.current(nowMs);
  const byRoot = Object.fromEntries([...Map.groupBy(leaves, (l) => l.root)].map(([root, list]) => [root, list.length]));
  const known = leaves.map(({ holder, identity, root, issuedAtMs, notAfterMs }) => ({
    holder,
    identity,
    root,
    issuedAt: new Date(issuedAtMs).toISOString(),
    notAfter: new Date(notAfterMs).toISOString(),
  }));
  const others = mergeAnchors(ca.federated)
    .filter(({ pem }) => !ca.roots.includes(pem))
    .map(({ pem, trustDomains }) => ({ certificate: new X509Certificate(pem), trustDomains }));
  return {
    kind: ca.authority.kind,
    now: new Date(nowMs).toISOString(),
    leafSeconds: ca.leafMs / 1000,
    ...ca.authority.about(),
    federated: others.map(({ certificate, trustDomains }) => ({
      subject: certificate.subject.split('\n').join(', '),
      notAfter: new Date(certificate.validTo).toISOString(),
      ...(trustDomains && { trustDomains }),
    })),
    issued: ca.leaves.issued,
    leavesByRoot: byRoot,
    leaves: known,
  };
};

const control = (ca: CertificateAuthority) => {
  const { rotation } = ca.authority;
  if (rotation) return rotation;
  throw new AdminError(
    409,
    'NOT_OWN',
    ca.authority.kind === 'folder'
      ? 'the roots are those of --ca-dir: put the new root beside the old one in root-cert.pem, then replace the signing certificate, then remove the old root'
      : 'the roots are those of the external signer: rotate them there',
  );
};

const rotate = async (request: AdminRequest, ca: CertificateAuthority, now: () => number) => {
  const { step, force = false } = jsonBody(request, ['step', 'force']);
  if (step !== undefined && !isStep(step)) throw new AdminError(400, 'INVALID', `step must be one of ${ROTATION_STEPS.join(', ')}`);
  if (typeof force !== 'boolean') throw new AdminError(400, 'INVALID', 'force must be true or false');
  const taken = await control(ca).take(step, force);
  if (!taken.ok) throw new AdminError(409, 'NOT_YET', taken.error);
  return { status: 200, json: { taken: taken.value, ca: caDocument(ca, now()) } };
};

const revoke = async (request: AdminRequest, ca: CertificateAuthority, now: () => number) => {
  const { root } = jsonBody(request, ['root']);
  if (root !== undefined && typeof root !== 'string') throw new AdminError(400, 'INVALID', 'root must be the id of a root');
  const revoked = await control(ca).revoke(root);
  if (!revoked.ok) throw new AdminError(409, 'REFUSED', revoked.error);
  return { status: 200, json: { revoked: revoked.value, ca: caDocument(ca, now()) } };
};

const isStep = (value: unknown): value is RotationStep => ROTATION_STEPS.some((step) => step === value);

/** Seconds, as istiod counts; of the first to end where there are several. */
export const caMetrics = (ca: CertificateAuthority, metrics: ControlMetrics, now: () => number): void => {
  const rootEnd = (): number =>
    Math.min(
      ...ca.authority
        .about()
        .roots.filter((r) => r.signs)
        .map((r) => Date.parse(r.notAfter)),
    ) / 1000;
  const chainEnd = (): number => {
    const { intermediate } = ca.authority.about();
    return intermediate === undefined ? rootEnd() : Date.parse(intermediate.notAfter) / 1000;
  };
  metrics.gauge('citadel_server_root_cert_expiry_timestamp', rootEnd);
  metrics.gauge('citadel_server_root_cert_expiry_seconds', () => rootEnd() - now() / 1000);
  metrics.gauge('citadel_server_cert_chain_expiry_timestamp', chainEnd);
  metrics.gauge('citadel_server_cert_chain_expiry_seconds', () => chainEnd() - now() / 1000);
  metrics.gauge('skein_ca_roots', () => ca.roots.length);
  metrics.gauge('skein_ca_roots_replaced', () => ca.authority.about().rotation?.replaced ?? 0);
};
