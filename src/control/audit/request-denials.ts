// Requests and connections that sidecars have refused by policy, as audit entries: what sidecars tell of each request (their access logs, on
// the streams that the control plane takes) is looked through for refusals of RBAC, JWT and external authorization. What a sidecar tells is
// its word, under its own authenticated name. Each sidecar has an allowance, and all together have one. Queries of paths are not written.
import type { Party, RecentRequest } from '../telemetry/recent-requests.ts';
import type { RefusedConnection } from '../telemetry/refused-connections.ts';
import { Allowance } from './allowance.ts';
import type { AuditEntry } from './audit-log.ts';
import type { AuditFields } from './chain.ts';
import type { DecidingRule } from './deciding-rule.ts';

export type SeenRequest = Pick<
  RecentRequest,
  'reporter' | 'proxy' | 'source' | 'method' | 'path' | 'authority' | 'status' | 'details' | 'requestId'
>;

const DENIED = /^(rbac_access_denied|jwt_authn_access_denied|ext_authz_denied)/;
const EACH = { burst: 20, perSecond: 1 };
const ALL = { burst: 200, perSecond: 20 };
/** Sidecars with an allowance of their own; a mesh of more begins anew. */
const SIDECARS_MAX = 4096;
const TEXT_CHARS_MAX = 500;

export class RequestDenials {
  readonly #add: (entry: AuditEntry) => void;
  readonly #now: () => number;
  readonly #ruleOf: (details: string) => DecidingRule | undefined;
  readonly #bySidecar = new Map<string, Allowance>();
  readonly #all: Allowance;
  #suppressed = 0;

  constructor(add: (entry: AuditEntry) => void, now: () => number, ruleOf: (details: string) => DecidingRule | undefined) {
    this.#add = add;
    this.#now = now;
    this.#ruleOf = ruleOf;
    this.#all = new Allowance(ALL.burst, ALL.perSecond, now());
  }

  /** Cheap for those that nobody refused. */
  seen(request: SeenRequest): void {
    if (request.details === '' || !DENIED.test(request.details)) return;
    const { proxy, source, method, path, authority, status, details, requestId } = request;
    this.#tell(proxy, source, details, () => ({
      code: String(status),
      ...(method === '' ? {} : { request: printable(`${method} ${authority}${path.split('?')[0]}`) }),
      ...(requestId === '' ? {} : { requestId: printable(requestId) }),
    }));
  }

  /** `connection` of the entry is what `skein explain --connection` takes. */
  refused({ proxy, source, destination, remote, local, details }: RefusedConnection): void {
    this.#tell(proxy, source, details, () => ({
      code: 'connection',
      connection: printable(remote),
      to: printable(destination.workload === '' ? local : `${destination.workload}.${destination.namespace} ${local}`),
    }));
  }

  #tell(proxy: string, source: Party, details: string, more: () => AuditFields): void {
    const nowMs = this.#now();
    if (!this.#allowanceOf(proxy, nowMs).take(nowMs) || !this.#all.take(nowMs)) {
      this.#suppressed++;
      return;
    }
    const suppressed = this.#suppressed;
    this.#suppressed = 0;
    this.#add(() => ({
      type: 'denial',
      door: 'sidecar',
      at: printable(proxy),
      who: printable(source.principal || (source.workload === '' ? '' : `${source.workload}.${source.namespace}`)),
      reason: printable(details),
      ...more(),
      ...this.#ruleOf(details),
      ...(suppressed === 0 ? {} : { suppressed }),
    }));
  }

  #allowanceOf(proxy: string, nowMs: number): Allowance {
    let own = this.#bySidecar.get(proxy);
    if (own === undefined) {
      if (this.#bySidecar.size >= SIDECARS_MAX) this.#bySidecar.clear();
      own = new Allowance(EACH.burst, EACH.perSecond, nowMs);
      this.#bySidecar.set(proxy, own);
    }
    return own;
  }
}

const printable = (text: string): string => text.replace(/\p{Cc}/gu, '?').slice(0, TEXT_CHARS_MAX);
