// What the audit log is told: changes of the configuration between generations, calls of the admin API that change something, and refusals
// at every door of the control plane. Who changed an object that was applied is known from the call in which it became visible; objects of
// watched files are changed by whoever may write the files.
import { AsyncLocalStorage } from 'node:async_hooks';
import { createHash } from 'node:crypto';
import { type Resource, resourceKey } from '../../api/resource.ts';
import { type AdminCaller, type AdminDoor, AdminError, type AdminReply, type AdminRequest, type AdminRoute } from '../admin/http.ts';
import type { Generation } from '../model.ts';
import { Allowance } from './allowance.ts';
import type { AuditLog } from './audit-log.ts';
import { diffObjects } from './object-diff.ts';

/** Where an object of a generation comes from. */
export type OriginOf = (resource: Resource) => 'applied' | 'registered' | 'file';

/** A refusal at a door. */
export interface Refusal {
  readonly door: 'admin' | 'xds' | 'ca';
  /** As far as it is known: a peer's address, a node, an account. */
  readonly who: string;
  readonly reason: string;
  readonly code?: string;
}

/** Refusals of a burst, and of a second after it; more are counted and told by number, so that a flood does not push changes out. */
const BURST = 200;
const PER_SECOND = 20;
const TEXT_CHARS_MAX = 500;

/** So often that they would hide the rest, and told by `skein status`: replicas say how they are. */
const QUIET = /^\/v1\/instances\//;

export class AuditTrail {
  readonly #log: AuditLog;
  readonly #now: () => number;
  readonly #callers = new AsyncLocalStorage<AdminCaller>();
  #before: ReadonlyMap<string, Resource> | undefined;
  #resources: readonly Resource[] = [];
  /** Where the objects that are known came from: asked when one is gone. */
  readonly #origins = new WeakMap<Resource, ReturnType<OriginOf>>();
  readonly #refusals: Allowance;
  #suppressed = 0;

  constructor(log: AuditLog, now: () => number) {
    this.#log = log;
    this.#now = now;
    this.#refusals = new Allowance(BURST, PER_SECOND, now());
  }

  started(facts: Readonly<Record<string, string | number>>): void {
    this.#log.add(() => ({ type: 'start', ...facts }));
  }

  stopped(): void {
    this.#log.add(() => ({ type: 'stop' }));
  }

  /** The first generation is told by number and digest alone: what changed while nobody ran is not known. */
  generation(generation: Generation, originOf: OriginOf): void {
    const { resources, number } = generation;
    const before = this.#before;
    if (before !== undefined && same(this.#resources, resources)) return;
    const now = new Map(resources.map((r) => [resourceKey(r), r]));
    this.#before = now;
    this.#resources = resources;
    for (const r of resources) if (!this.#origins.has(r)) this.#origins.set(r, originOf(r));
    if (before === undefined) {
      this.#log.add(() => ({ type: 'loaded', generation: number, objects: resources.length, digest: digestOf(resources) }));
      return;
    }
    const caller = this.#callers.getStore();
    for (const [key, after] of now) {
      const old = before.get(key);
      if (old !== after) this.#changed(old, after, number, caller);
    }
    for (const [key, old] of before) if (!now.has(key)) this.#deleted(old, number, caller);
  }

  #changed(old: Resource | undefined, after: Resource, generation: number, caller: AdminCaller | undefined): void {
    // Nothing is said of an object that was only read again: that is known here, before it becomes an entry.
    if (old !== undefined && exact(old) === exact(after)) return;
    this.#log.add(() => ({
      type: 'change',
      action: old === undefined ? 'created' : 'updated',
      ...nameOf(after),
      generation,
      by: byOf(this.#origins.get(after), caller),
      file: after.origin.file,
      line: after.origin.line,
      ...diffObjects(after.kind, old && content(old), content(after)),
    }));
  }

  #deleted(old: Resource, generation: number, caller: AdminCaller | undefined): void {
    const { file, line } = old.origin;
    const by = byOf(this.#origins.get(old), caller);
    this.#log.add(() => ({ type: 'change', action: 'deleted', ...nameOf(old), generation, by, file, line }));
  }

  refused(refusal: Refusal): void {
    if (!this.#refusals.take(this.#now())) {
      this.#suppressed++;
      return;
    }
    const suppressed = this.#suppressed;
    this.#suppressed = 0;
    const { door, who, reason, code } = refusal;
    this.#log.add(() => ({
      type: 'denial',
      door,
      who: printable(who),
      ...(code === undefined ? {} : { code }),
      reason: printable(reason),
      ...(suppressed === 0 ? {} : { suppressed }),
    }));
  }

  /** The same routes; what they change and refuse is told. */
  routes(routes: readonly AdminRoute[]): readonly AdminRoute[] {
    return routes.map((route) => ({ ...route, handle: (request) => this.#callers.run(request.by, () => this.#handle(route, request)) }));
  }

  /** The same door; whom it does not let in is told. */
  door(door: AdminDoor): AdminDoor {
    return (request) => {
      try {
        const caller = door(request);
        const { method = 'GET' } = request;
        if (caller.role === 'read' && method !== 'GET' && method !== 'HEAD')
          this.refused({ door: 'admin', who: whoOf(caller), code: 'FORBIDDEN', reason: `${method} ${pathOf(request.url)}` });
        return caller;
      } catch (error) {
        if (error instanceof AdminError)
          this.refused({ door: 'admin', who: request.socket.remoteAddress ?? '', code: error.code, reason: error.message });
        throw error;
      }
    };
  }

  async #handle(route: AdminRoute, request: AdminRequest): Promise<AdminReply> {
    const { method, url, by } = request;
    const changes = method !== 'GET' && method !== 'HEAD';
    try {
      const reply = await route.handle(request);
      const status = 'status' in reply ? reply.status : 200;
      if (changes && status >= 400) this.#refusedCall(request, refusalText(reply));
      else if (changes && !QUIET.test(url.pathname))
        this.#log.add(() => ({ type: 'call', method, path: printable(url.pathname), status, by: callerOf(by) }));
      return reply;
    } catch (error) {
      if (error instanceof AdminError && changes) this.#refusedCall(request, { code: error.code, reason: '' });
      throw error;
    }
  }

  #refusedCall({ method, url, by }: AdminRequest, { code, reason }: { readonly code: string; readonly reason: string }): void {
    this.refused({ door: 'admin', who: whoOf(by), code, reason: `${method} ${url.pathname}${reason}` });
  }
}

/** Codes and places of problems; their words may quote what was written. */
const refusalText = (reply: AdminReply): { readonly code: string; readonly reason: string } => {
  const json = 'json' in reply ? (reply.json as { readonly problems?: readonly ProblemPlace[] } | null) : undefined;
  const [first] = (json?.problems ?? []).filter((p) => p.severity === 'error');
  return { code: 'REFUSED', reason: first === undefined ? '' : `: ${first.code} at ${first.file}:${first.line}` };
};

interface ProblemPlace {
  readonly severity: string;
  readonly code: string;
  readonly file: string;
  readonly line: number;
}

const same = (a: readonly Resource[], b: readonly Resource[]): boolean => a.length === b.length && a.every((r, i) => r === b[i]);

const content = ({ labels, annotations, spec }: Resource): unknown => ({
  ...(Object.keys(labels).length === 0 ? {} : { labels }),
  ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  spec,
});
const exact = (r: Resource): string => JSON.stringify(content(r));

const digestOf = (resources: readonly Resource[]): string => {
  const hash = createHash('sha256');
  for (const r of [...resources].sort((a, b) => (resourceKey(a) < resourceKey(b) ? -1 : 1)))
    hash.update(`${resourceKey(r)}\n${exact(r)}\n`);
  return hash.digest('hex');
};

const nameOf = ({ kind, namespace, name }: Resource) => ({ kind, namespace, name });

const byOf = (from: ReturnType<OriginOf> | undefined, caller: AdminCaller | undefined): Readonly<Record<string, string>> => {
  if (from === 'registered') return { via: 'workload' };
  if (from === 'file') return { via: 'file' };
  return caller === undefined ? { via: 'admin API' } : { via: 'admin API', ...callerOf(caller) };
};

const callerOf = ({ who, role, from }: AdminCaller) => ({ who, role, ...(from === '' ? {} : { from }) });
const whoOf = ({ who, from }: AdminCaller): string => (from === '' ? who : `${who} at ${from}`);

const pathOf = (url: string | undefined): string => (url ?? '').replace(/\?.*$/s, '');

/** Text of strangers. */
const printable = (text: string): string => text.replace(/\p{Cc}/gu, '?').slice(0, TEXT_CHARS_MAX);
